"""What ``--base`` takes: a model together with how its examples are read, batched and answered."""

import sys

from lora_teach.bases.generation import generating_greedily
from lora_teach.bases.language_models import load_language_model
from lora_teach.bases.name_gpt import load_name_gpt, name_loss
from lora_teach.bases.quantized import quantize_, quantize_with_bitsandbytes_
from lora_teach.bases.smollm2 import load_smollm2
from lora_teach.datasets import chats, names
from lora_teach.datasets.jsonl import NOT_USED, Example, check_text, located, read_objects, refuse_unused
from lora_teach.model import LoRAModel
from lora_teach.utils.evaluating import evaluating
from lora_teach.utils.validation import check_choice

import torch
from tqdm.auto import tqdm

BASES = {  # name -> its loader, which is given ``say``; another base is one more line
    "smollm2": lambda say: TextBase(*load_smollm2(say=say)),
    "names": lambda say: NamesBase(load_name_gpt()),
}
QUANTIZERS = {  # how the base's linear layers are quantised, by name
    "nf4": quantize_,
    "bnb-nf4": lambda model: quantize_with_bitsandbytes_(model, "nf4"),
    "bnb-int8": lambda model: quantize_with_bitsandbytes_(model, "int8"),
}
KNOWN = f"{', '.join(BASES)}, or a Hugging Face folder or id"  # what ``--base`` takes, in words


def load_base(name, say=print, quantize=None):
    """Return a base by name: a `TextBase` or a `NamesBase`.

    Args:
        name: A key of `BASES`, or a folder in Hugging Face's layout, or an id on their hub.
        say: Takes a line of progress while something is fetched.
        quantize: A key of `QUANTIZERS`: its linear layers are quantised, as QLoRA does it; None for none.

    Raises:
        OSError, ValueError: From the loader of that base.
        ImportError: A quantiser of bitsandbytes, which is not installed.
    """
    base = BASES[name](say) if name in BASES else TextBase(*load_language_model(name))
    if quantize is not None:
        QUANTIZERS[check_choice("quantize", quantize, QUANTIZERS)](base.model)
    return base


class TextBase:
    """A language model of transformers' with its tokenizer; examples are conversations.

    Attributes:
        model: The model.
        loss_fn: None: the model's output has ``.loss``.
    """

    loss_fn = None

    def __init__(self, model, tokenizer):
        self.model, self.tokenizer = model, tokenizer

    def read(self, path, completions=True):
        """Return the examples of a JSONL file; see `lora_teach.datasets.chats.read_jsonl`."""
        return chats.read_jsonl(path, completions)

    def asked(self, prompt):
        """Return one prompt as an example."""
        return Example([{"role": "user", "content": check_text("PROMPT", prompt)}], "PROMPT")

    def prompt_of(self, example):
        """Return what the user said last."""
        return example[-1]["content"]

    def completion_of(self, example):
        """Return what the assistant should say last."""
        return example[-1]["content"]

    def batches(self, examples, batch_size, seed, longest=None, cut=False, multiple=1):
        """Return batches whose labels count the completions alone.

        Raises:
            ValueError: From `lora_teach.datasets.chats.ChatBatches`; ``longest`` is 2,048 if it is None, and never more
                than the model has positions.
        """
        self._check_embedded([chats.padding(self.tokenizer)])
        longest = min(chats.LONGEST if longest is None else longest, self._positions())
        batches = chats.ChatBatches(examples, self.tokenizer, batch_size, seed, longest, cut, multiple)
        for batch in batches:
            self._check_embedded(batch["input_ids"].flatten().tolist())
        return batches

    def answer(self, model, examples, max_new_tokens=128, batch_size=8, progress=False):
        """Return the model's answer to each example, greedy, without its end mark.

        It ends at any end mark of the tokenizer or of the model's generation config; of the latter nothing else counts.

        Args:
            model: ``self.model``, or a LoRAModel around it.
            examples: From `read` with ``completions=False``.
            max_new_tokens: An answer that is longer is cut off there.
            batch_size: Examples answered at once; long and short ones are kept apart.
            progress: Show a bar (on stderr).

        Raises:
            ValueError: Another model, an example that ends with its answer or that the chat template refuses, or one
                that is too long.
        """
        if (model.base_model if isinstance(model, LoRAModel) else model) is not self.model:
            raise ValueError("the model is not this base's own, nor over it. Use TextBase(model, tokenizer).")
        self._check_embedded([chats.padding(self.tokenizer)])
        asked, marks = [], chats.marks_of(self.tokenizer)
        for number, example in enumerate(examples, start=1):
            with located(example, number):
                asked.append(chats.prompt_ids(example, self.tokenizer, marks))
                self._check_embedded(asked[-1])
                if len(asked[-1]) + max_new_tokens > self._positions():
                    raise ValueError(
                        f"its {len(asked[-1])} tokens and {max_new_tokens} new ones are more than the "
                        f"{self._positions()} positions of the model. Shorten it, or lower max_new_tokens "
                        "(--max-new-tokens)."
                    )
        order = sorted(range(len(asked)), key=lambda index: len(asked[index]))
        pad, answers = chats.padding(self.tokenizer), [""] * len(asked)
        with evaluating(model), generating_greedily(self.model, self.tokenizer, max_new_tokens, pad) as cut:
            parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
            for chosen in tqdm(parts, disable=not progress, desc="answering", unit="batch"):
                batch = chats.pad([(asked[index], asked[index]) for index in chosen], pad, side="left")
                device = self.model.device
                given = {key: batch[key].to(device) for key in ("input_ids", "attention_mask")}  # (batch, seq)
                tokens = self.model.generate(**given)  # (batch, seq + new)
                for index, row in zip(chosen, tokens[:, given["input_ids"].shape[1] :].tolist(), strict=True):
                    answers[index] = cut(row)
        return answers

    def _positions(self):
        """Return how many tokens the model can read."""
        config = self.model.config.get_text_config()
        return getattr(config, "max_position_embeddings", None) or sys.maxsize

    def _check_embedded(self, ids):
        """Raise ValueError if one of ``ids`` is a token that the model's embedding lacks."""
        rows, token = self.model.get_input_embeddings().weight.shape[0], max(ids)
        if token >= rows:
            raise ValueError(
                f"the tokenizer's token {self.tokenizer.convert_ids_to_tokens(token)!r} has the number {token}, and "
                f"the model's embedding has {rows} rows. Use the model's own tokenizer."
            )


class NamesBase:
    """NameGPT; an example's prompt is how a name begins, its completion the rest.

    Attributes:
        model: The NameGPT.
        loss_fn: Cross entropy over the letters of the completion and the end.
    """

    loss_fn = staticmethod(name_loss)

    def __init__(self, model):
        self.model = model

    def read(self, path, completions=True):
        """Return the examples of a JSONL file as pairs ``(beginning, rest)``; the beginning may be empty.

        Raises:
            ValueError: A line that holds no name; the message gives file and line.
        """
        pairs = []
        for number, example in read_objects(path):
            try:
                refuse_unused(example, [*NOT_USED, "messages", "system"])
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
            begins, rest = example.get("prompt", ""), example.get("completion", "") if completions else ""
            if not isinstance(begins, str) or not isinstance(rest, str):
                raise ValueError(f'{path}, line {number}: "prompt" and "completion" are texts: a name in two parts.')
            if completions and not rest:
                raise ValueError(f'{path}, line {number}: "completion" is missing: the name, or the rest of it.')
            try:
                names.encode([f"{begins}{rest}" or "a"])
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
            pairs.append((begins, rest))
        return pairs

    def asked(self, prompt):
        """Return one beginning as an example."""
        names.encode([prompt or "a"])
        return prompt, ""

    def prompt_of(self, example):
        """Return how the name begins."""
        return example[0]

    def completion_of(self, example):
        """Return the rest of the name."""
        return example[1]

    def batches(self, examples, batch_size, seed, longest=None, cut=False, multiple=1):
        """Return batches ``(inputs, targets)`` in a shuffled order; the beginnings don't count."""
        if longest is not None:
            raise ValueError(f"longest={longest} (--max-length) is for texts; a name has {names.MAX_LETTERS} letters.")
        order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed)).tolist()
        made = []
        for start in range(0, len(order), batch_size):
            chosen = [examples[index] for index in order[start : start + batch_size]]
            inputs, targets = names.encode([begins + rest for begins, rest in chosen])  # (batch, seq) each
            for row, (begins, _) in enumerate(chosen):
                targets[row, : len(begins)] = names.IGNORED
            made.append((inputs, targets))
        return made

    def answer(self, model, examples, max_new_tokens=names.MAX_LETTERS, batch_size=None, progress=False):
        """Return the likeliest rest of each name, letter by letter."""
        answers = []
        with evaluating(model):
            for begins, _ in tqdm(examples, disable=not progress, desc="answering", unit="name"):
                inputs = names.encode([begins])[0] if begins else torch.zeros(1, 1, dtype=torch.long)  # (1, seq)
                inputs, rest = inputs.to(next(model.parameters()).device), []
                while len(rest) < max_new_tokens and inputs.shape[1] <= names.MAX_LETTERS:
                    letter = model(inputs)[0, -1].argmax()
                    if letter == 0:
                        break
                    rest.append(letter)
                    inputs = torch.cat([inputs, letter.view(1, 1)], dim=1)
                answers.append(names.decode(torch.stack(rest)) if rest else "")
        return answers
