"""What ``--base`` takes: a model together with how its examples are read, batched and answered."""

from contextlib import contextmanager

from lora_teach.bases.language_models import load_language_model
from lora_teach.bases.name_gpt import evaluating, load_name_gpt, name_loss
from lora_teach.bases.smollm2 import load_smollm2
from lora_teach.datasets import chats, names

import torch

BASES = {  # name -> its loader, which is given ``say``; another base is one more line
    "smollm2": lambda say: TextBase(*load_smollm2(say=say)),
    "names": lambda say: NamesBase(load_name_gpt()),
}
KNOWN = f"{', '.join(BASES)}, or a Hugging Face folder or id"  # what ``--base`` takes, in words


def load_base(name, say=print):
    """Return a base by name: a `TextBase` or a `NamesBase`.

    Args:
        name: A key of `BASES`, or a folder in Hugging Face's layout, or an id on their hub.
        say: Takes a line of progress while something is fetched.

    Raises:
        OSError, ValueError: From the loader of that base.
    """
    return BASES[name](say) if name in BASES else TextBase(*load_language_model(name))


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
        return [{"role": "user", "content": prompt}]

    def prompt_of(self, example):
        """Return what the user said last."""
        return example[-1]["content"]

    def batches(self, examples, batch_size, seed):
        """Return batches whose labels count the completions alone."""
        return chats.ChatBatches(examples, self.tokenizer, batch_size, seed)

    def answer(self, model, examples, max_new_tokens=128, batch_size=8):
        """Return the model's answer to each example, greedy, without its end mark.

        Args:
            model: ``self.model``, or a LoRAModel around it.
            examples: From `read` with ``completions=False``.
            max_new_tokens: An answer that is longer is cut off there.
            batch_size: Examples answered at once; long and short ones are kept apart.
        """
        asked = [chats.prompt_ids(example, self.tokenizer) for example in examples]
        order = sorted(range(len(asked)), key=lambda index: len(asked[index]))
        end = self.tokenizer.eos_token_id
        pad = end if self.tokenizer.pad_token_id is None else self.tokenizer.pad_token_id
        answers = [""] * len(asked)
        with evaluating(model):
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                batch = chats.pad([(asked[index], asked[index]) for index in chosen], pad, side="left")
                device = self.model.device
                given = {key: batch[key].to(device) for key in ("input_ids", "attention_mask")}  # (batch, seq)
                with _plain_generation(self.model):
                    tokens = self.model.generate(
                        **given, do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=pad, eos_token_id=end
                    )  # (batch, seq + new)
                for index, row in zip(chosen, tokens[:, given["input_ids"].shape[1] :].tolist(), strict=True):
                    spoken = row[: row.index(end)] if end in row else row
                    answers[index] = self.tokenizer.decode(spoken, skip_special_tokens=True)
        return answers


@contextmanager
def _plain_generation(model):
    """Within the block the model's own sampling settings are unset: transformers would warn of them."""
    config, found = model.generation_config, {}
    for option in ("temperature", "top_p", "top_k"):
        found[option] = getattr(config, option, None)
        setattr(config, option, None)
    try:
        yield
    finally:
        for option, value in found.items():
            setattr(config, option, value)


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
        for number, example in chats.read_objects(path):
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

    def batches(self, examples, batch_size, seed):
        """Return batches ``(inputs, targets)`` in a shuffled order; the beginnings don't count."""
        order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed)).tolist()
        made = []
        for start in range(0, len(order), batch_size):
            chosen = [examples[index] for index in order[start : start + batch_size]]
            inputs, targets = names.encode([begins + rest for begins, rest in chosen])  # (batch, seq) each
            for row, (begins, _) in enumerate(chosen):
                targets[row, : len(begins)] = names.IGNORED
            made.append((inputs, targets))
        return made

    def answer(self, model, examples, max_new_tokens=names.MAX_LETTERS, batch_size=None):
        """Return the likeliest rest of each name, letter by letter."""
        answers = []
        with evaluating(model):
            for begins, _ in examples:
                inputs = names.encode([begins])[0] if begins else torch.zeros(1, 1, dtype=torch.long)  # (1, seq)
                rest = []
                while len(rest) < max_new_tokens and inputs.shape[1] <= names.MAX_LETTERS:
                    letter = model(inputs)[0, -1].argmax()
                    if letter == 0:
                        break
                    rest.append(letter)
                    inputs = torch.cat([inputs, letter.view(1, 1)], dim=1)
                answers.append(names.decode(torch.stack(rest)) if rest else "")
        return answers
