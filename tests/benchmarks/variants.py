"""What each variant of LoRA costs beside plain LoRA: its start, its step, and what a step holds.

    python tests/benchmarks/variants.py [--rounds 15] [--threads 1] [--device cuda [--dtype bfloat16]]

The models, the clock and the race are those of ``method.py``: all contenders take their turn in each round, and each
ratio is taken within a round. A step is a forward and a backward, at rank 8 in every linear layer but the head. What
autograd keeps for the backward, and what trains, is measured on a real step on the CPU. The start is the time from the
base to the adapter, once.
"""

import copy

from lora_teach import LoRAModel
from lora_teach.measure import measure_memory
from tests.benchmarks.method import LARGE, LAYERS, RANK, SIZES, clock, quartiles, race, read_options, step

import peft
import torch
import transformers

VARIANTS = {
    "lora": {},
    "rslora": {"scaling": "alpha/sqrt(r)"},
    "pissa": {"init": "pissa"},
    "uniform_B": {"init": "uniform_B"},
    "lora_fa": {"variant": "lora_fa"},
    "dora": {"variant": "dora"},
}
PEFTS = {"PEFT lora": {}, "PEFT dora": {"use_dora": True}}


def contenders(base):
    """Return ``({name: model}, {name: seconds of the start})``, each over a copy of ``base``."""
    models, starts = {}, {}
    for name, options in VARIANTS.items():
        own, started = copy.deepcopy(base), clock(base.device)
        models[name] = LoRAModel(own, rank=RANK, alpha=16, target_modules=LAYERS, **options)
        starts[name] = clock(base.device) - started
    for name, options in PEFTS.items():
        own, started = copy.deepcopy(base), clock(base.device)
        config = peft.LoraConfig(r=RANK, lora_alpha=16, target_modules=LAYERS, **options)
        models[name] = peft.get_peft_model(own, config).eval()
        starts[name] = clock(base.device) - started
    return models, starts


def main():
    """Run the sizes and print a line for each contender."""
    rounds, device, dtype = read_options(__doc__)
    for size, (shapes, vocabulary, batch) in (SIZES | (LARGE if device.type == "cuda" else {})).items():
        torch.manual_seed(0)
        config = transformers.LlamaConfig(**shapes, **vocabulary, max_position_embeddings=512)
        base = transformers.LlamaForCausalLM(config).to(device, dtype).eval()
        generator = torch.Generator().manual_seed(1)
        tokens = torch.randint(0, vocabulary["vocab_size"], batch, generator=generator).to(device)
        models, starts = contenders(base)
        taken = race(models, step, tokens, rounds * (4 if size == "tiny" else 1))
        print(f"\n{size:13} {'start, s':>9}  step, ms                     over plain LoRA         trains     kept, MB")
        for name, values in taken.items():
            ratios = [one / plain for one, plain in zip(values, taken["lora"], strict=True)]
            trains = sum(p.numel() for p in models[name].parameters() if p.requires_grad)
            kept = ""
            if device.type == "cpu":
                held = measure_memory(models[name], {"input_ids": tokens, "labels": tokens})
                kept = f"{held.activations / 1e6:9.2f}"
            print(
                f"{name:13} {starts[name]:9.2f}  {quartiles(values, '.2f'):28} {quartiles(ratios, '.2f'):22} "
                f"{trains:9,} {kept}"
            )


if __name__ == "__main__":
    main()
