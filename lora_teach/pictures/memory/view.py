"""Memory: what a training step holds, and why LoRA saves much of it in small batches and little in large ones."""

from lora_teach.live.explore import View, explore
from lora_teach.measure.architectures import build, targets
from lora_teach.measure.predicted_memory import predict_memory, readable
from lora_teach.measure.results import load_result
from lora_teach.pictures.memory import drawing as memory
from lora_teach.plots import show

import torch

MODELS = {"SmolLM2-135M": torch.float32, "Llama-3.2-1B": torch.bfloat16, "Llama-3.1-8B": torch.bfloat16}
BATCH_SIZES, SEQ_LENS = (1, 2, 4, 8, 16, 32), (32, 64, 128, 256, 512, 1024, 2048)
START = (4, 128)
RANK = 8
WAYS = {  # the bars, and what data/memory.json calls them
    "full fine-tuning": ({}, "full"),
    "LoRA": ({"rank": RANK}, "all linear r8"),
    "LoRA with\ncheckpointing": ({"rank": RANK, "checkpointing": True}, "all linear r8, checkpointed"),
}
TWIN_MODEL, TWIN_RANKS, TWIN_BATCHES = "Llama-3.1-8B", (1, 8, 64, 256), ((1, 128), (8, 512), (32, 2048))


class MemoryBars(View):
    """What full fine-tuning, LoRA and LoRA with checkpointing hold, by batch size and sequence length.

    Predicted from shapes (`predict_memory`), with AdamW and rank 8 on every linear layer; white dots are measured
    steps, from ``data/memory.json``. SmolLM2 is in float32, as it was measured, the larger models in bfloat16.

    Args:
        models: Names out of `MODELS`, the one shown first in front.
        guess: The share of full fine-tuning's memory that the learner expects LoRA to hold in the batch at the start,
            0 to 1.

    Raises:
        ValueError: A guess that is no share.
    """

    def __init__(self, models=tuple(MODELS), guess=None):
        if guess is not None and not 0 <= guess <= 1:
            raise ValueError(f"guess={guess!r} is no share. Use a number from 0 to 1, such as 0.3 for 30 %.")
        self.models = {name: build(name) for name in models}
        self.measured = load_result("memory")["results"]["memory"]
        self.tokens, self._lines = [2**power for power in range(5, 17)], {}
        place = None if guess is None else (START[0] * START[1], guess)
        self.drawn = memory.draw(list(WAYS), self.tokens[0], self.tokens[-1], place)
        self.picture = self.drawn.picture

    def __call__(self, model, batch_size, seq_len):
        """Show one batch of one model."""
        held = [held_in(self.models[model], model, batch_size, seq_len, way) for way in WAYS]
        found = self._measured(model, batch_size, seq_len)
        kind = str(MODELS[model]).removeprefix("torch.")
        self.drawn.update(
            f"{model} in {kind}, {batch_size} × {seq_len} tokens", held, found, self.tokens, self._shares(model),
            batch_size * seq_len,
        )  # fmt: skip
        full, lora, again = (sum(parts) for parts in held)
        said = (
            f"{batch_size} × {seq_len} = {batch_size * seq_len:,} tokens: full fine-tuning of {model} holds "
            f"{readable(full)}, LoRA {readable(lora)} ({lora / full:.0%}), with checkpointing {readable(again)} "
            f"({again / full:.0%}). Of what LoRA holds, {held[1][3] / lora:.0%} are activations."
        )
        if found is not None:
            said += f" Measured: {', '.join(map(readable, found))}."
        return said

    def _measured(self, model, batch_size, seq_len):
        rows = self.measured.get(model, {}).get(f"{batch_size} × {seq_len}")
        return rows and [sum(rows[name]["measured"]) for _, name in WAYS.values()]

    def _shares(self, model):
        """LoRA's share of full fine-tuning's memory at each number of tokens, without and with checkpointing."""
        if model not in self._lines:
            base, seq = self.models[model], SEQ_LENS[0]
            full, *others = (
                [sum(held_in(base, model, tokens // seq, seq, way)) for tokens in self.tokens] for way in WAYS
            )
            self._lines[model] = [[part / whole for part, whole in zip(other, full, strict=True)] for other in others]
        return self._lines[model]

    def twin(self):
        """Ranks, batches and checkpointing side by side, of an 8-billion-parameter model."""
        model = self.models.get(TWIN_MODEL) or build(TWIN_MODEL)
        rows = {"all kept": {}, "with checkpointing": {"checkpointing": True}}
        bars = {"full": {}} | {f"r {rank}": {"rank": rank} for rank in TWIN_RANKS}
        held = {
            row: {
                f"{batch_size} × {seq_len} tokens": {
                    bar: parts(model, TWIN_MODEL, batch_size, seq_len, options | extra) for bar, options in bars.items()
                }
                for batch_size, seq_len in TWIN_BATCHES
            }
            for row, extra in rows.items()
        }
        few, many = (list(held["all kept"].values())[column] for column in (0, -1))
        again = list(held["with checkpointing"].values())[-1]
        lora, most = f"r {RANK}", f"r {TWIN_RANKS[-1]}"
        return show(
            memory.draw_ranks(held),
            f"What a step of {TWIN_MODEL} in bfloat16 holds, predicted, as a share of full fine-tuning with all kept. "
            f"With few tokens LoRA of rank {RANK} needs {_share(few[lora], few)}: gradients and optimiser state are "
            f"nearly gone (rank {TWIN_RANKS[-1]} needs {_share(few[most], few)}). With many tokens it needs "
            f"{_share(many[lora], many)}, as it keeps nearly the same activations. Checkpointing computes them again "
            f"and brings that to {_share(again[lora], many)}, and full fine-tuning to {_share(again['full'], many)}.",
        )

    @classmethod
    def example(cls, guess=None):
        """Return the explorer as notebook 10 shows it."""
        view = cls(guess=guess)
        return explore(
            view, twin=view.twin(), model=(list(MODELS), next(iter(MODELS))), batch_size=(list(BATCH_SIZES), START[0]),
            seq_len=(list(SEQ_LENS), START[1]),
            labels={"batch_size": "sequences in a batch", "seq_len": "tokens in each"},
        )  # fmt: skip


def _share(part, column):
    return f"{sum(part) / sum(column['full']):.0%}"


def held_in(model, name, batch_size, seq_len, way):
    """Return the four parts of one of `WAYS`, in bytes."""
    return parts(model, name, batch_size, seq_len, WAYS[way][0])


def parts(model, name, batch_size, seq_len, options):
    """Return what a step holds in bytes: weights and adapters, gradients, optimiser state, activations."""
    if "rank" in options:
        options = options | {"target_modules": targets(name, "all linear")}
    held = predict_memory(model, batch_size, seq_len, dtype=MODELS[name], **options)
    return held.weights + held.adapters, held.gradients, held.optimiser, held.activations
