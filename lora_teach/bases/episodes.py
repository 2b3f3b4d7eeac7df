"""How a model writes what a reward then scores: names by NameGPT, completions by a base that can ``generate``."""

from lora_teach.bases.generation import generating
from lora_teach.bases.name_gpt import sample_names
from lora_teach.datasets.chats import padding
from lora_teach.datasets.names import ALPHABET, MAX_LETTERS, encode
from lora_teach.loop.rewards import IGNORED, Episodes
from lora_teach.utils.validation import check_count

import torch

FAIRLY = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}  # the draws that log π is about


class NameWriter:
    """Writes ``count`` names by fair draws from a NameGPT, or a LoRAModel around one; they form one group.

    No name is empty. A name that is cut at the longest has no end that would count. Draws torch's random numbers.
    """

    def __init__(self, count=64):
        self.count = check_count("count", count)

    def __call__(self, model):
        """Return the `Episodes`."""
        draws = torch.rand(self.count, MAX_LETTERS, len(ALPHABET))
        noise = -torch.log(-torch.log(draws.clamp(1e-9, 1 - 1e-7)))  # Gumbel: see gumbel_noise
        noise[:, 0, 0] = -torch.inf
        names, device = sample_names(model, noise), next(model.parameters()).device
        inputs, targets = (side.to(device) for side in encode(names))  # (count, seq) each
        targets[:, MAX_LETTERS:] = IGNORED
        return Episodes(names, inputs, targets)


class CompletionWriter:
    """Writes ``size`` completions of each prompt, by fair draws (temperature 1, no top-k) up to the model's end mark.

    Args:
        tokenizer: The model's.
        prompts: A list of texts.
        encode: ``encode(prompt) -> token ids``, such as `lora_teach.datasets.chats.prompt_ids` of a message.
        size: Completions of each prompt; they form a group.
        max_new_tokens: The longest completion, in tokens; one that is cut there has no end that would count.
        at_once: Prompts in a batch, taken in turn; None means all.

    Raises:
        ValueError: No prompts; a prompt without tokens.
    """

    def __init__(self, tokenizer, prompts, encode, *, size=8, max_new_tokens=40, at_once=None):
        self.tokenizer, self.prompts, self.encode = tokenizer, list(prompts), encode
        if not self.prompts:
            raise ValueError("there are no prompts. Give a list of texts with at least one.")
        self.size, self.max_new_tokens = check_count("size", size), check_count("max_new_tokens", max_new_tokens)
        self.at_once = len(self.prompts) if at_once is None else check_count("at_once", at_once)
        self._next = 0

    def __call__(self, model):
        """Return the `Episodes` of the next prompts."""
        chosen = [self.prompts[(self._next + step) % len(self.prompts)] for step in range(self.at_once)]
        self._next = (self._next + self.at_once) % len(self.prompts)
        device, pad, rows, texts = next(model.parameters()).device, padding(self.tokenizer), [], []
        with generating(model, self.tokenizer, self.max_new_tokens, pad, **FAIRLY) as (cut, ends):
            for prompt in chosen:
                ids = list(self.encode(prompt))
                given = torch.tensor([ids], device=device)  # (1, seq)
                made = model.generate(
                    input_ids=given, attention_mask=torch.ones_like(given), num_return_sequences=self.size
                )
                for written in made[:, len(ids) :].tolist():
                    stop = next((place + 1 for place, token in enumerate(written) if token in ends), len(written))
                    rows.append((ids, written[:stop]))
                    texts.append(cut(written))
        longest = max(len(ids) + len(written) for ids, written in rows)
        inputs, targets = (torch.full((len(rows), longest - 1), fill) for fill in (pad, IGNORED))  # (batch, seq) each
        for row, (ids, written) in enumerate(rows):
            whole = torch.tensor([*ids, *written])
            inputs[row, : len(whole) - 1] = whole[:-1]
            targets[row, len(ids) - 1 : len(whole) - 1] = whole[len(ids) :]
        prompts = [prompt for prompt in chosen for _ in range(self.size)]
        return Episodes(texts, inputs.to(device), targets.to(device), self.size, prompts)
