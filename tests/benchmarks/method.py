"""What an adapter costs a step: the base alone, ours and PEFT's, with the same factors on the same model.

    python tests/benchmarks/method.py [--rounds 15] [--threads 1] [--device cuda [--dtype bfloat16]]

On the CPU the clock is the process's own CPU time, which other programs on the machine lengthen little; on a GPU it is
the time until the GPU has done its work. All contenders take their turn in each round, and each ratio is taken within a
round. Medians with quartiles. Two random Llamas, adapted at rank 8 in every linear layer but the head: "tiny" has the
size of the course's NameGPT; "like SmolLM" has the widths of SmolLM2-135M, and 6 of its 30 layers; on a GPU there is
also one of 1 B parameters, "like Llama 1B".
"""

import argparse
import random
import statistics
import time
import warnings

from lora_teach import LoRAModel

import peft
import torch
import transformers

SIZES = {
    "tiny": (
        {"hidden_size": 96, "intermediate_size": 384, "num_hidden_layers": 3, "num_attention_heads": 4},
        {"num_key_value_heads": 4, "vocab_size": 32},
        (32, 16),
    ),
    "like SmolLM": (
        {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 9},
        {"num_key_value_heads": 3, "vocab_size": 4096},
        (2, 64),
    ),
}
LARGE = {
    "like Llama 1B": (
        {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32},
        {"num_key_value_heads": 8, "vocab_size": 32000},
        (4, 512),
    ),
}
RANK = 8
LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def contenders(shapes, vocabulary, device, dtype):
    """Return ``{name: model}``; ours and PEFT's have the same factors."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**shapes, **vocabulary, max_position_embeddings=512)
    bases = [transformers.LlamaForCausalLM(config).to(device, dtype).eval() for _ in range(3)]
    for base in bases[1:]:
        base.load_state_dict(bases[0].state_dict())
    bases[0].requires_grad_(False)
    ours = LoRAModel(bases[1], rank=RANK, alpha=16, target_modules=LAYERS)
    theirs = peft.get_peft_model(bases[2], peft.LoraConfig(r=RANK, lora_alpha=16, target_modules=LAYERS)).eval()
    with torch.no_grad():
        for name, layer in ours.lora_layers.items():
            layer.lora_B.normal_(0, 0.02)
            twin = theirs.base_model.model.get_submodule(name)
            twin.lora_A["default"].weight.copy_(layer.lora_A.T)
            twin.lora_B["default"].weight.copy_(layer.lora_B.T)
    return {"base": bases[0], "ours": ours, "PEFT": theirs}


def forward(model, tokens):
    """A forward without gradients."""
    with torch.no_grad():
        model(input_ids=tokens)


def step(model, tokens):
    """A forward and a backward."""
    model(input_ids=tokens, labels=tokens).loss.backward()
    for parameter in model.parameters():
        parameter.grad = None


def clock(device):
    """Return the seconds on the device's clock."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def race(models, action, tokens, rounds):
    """Return ``{name: [milliseconds of each round]}``."""
    taken = {name: [] for name in models}
    shuffled = random.Random(0)
    for turn in range(rounds + 2):
        for name in shuffled.sample(list(models), len(models)):
            started = clock(tokens.device)
            action(models[name], tokens)
            if turn >= 2:  # the first two warm up
                taken[name].append(1000 * (clock(tokens.device) - started))
    return taken


def quartiles(values, form):
    """Return "median (lower quartile to upper quartile)"."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def report(size, what, taken, pairs):
    """Print one line for each contender, and one for each ratio."""
    for name, values in taken.items():
        print(f"{size:12} {what:17} {name:12} {quartiles(values, '8.2f')} ms")
    for above, below in pairs:
        ratios = [a / b for a, b in zip(taken[above], taken[below], strict=True)]
        print(f"{size:12} {what:17} {above} / {below}: {quartiles(ratios, '.3f')}")


def read_options(description):
    """Return ``(rounds, device, dtype)`` from the command line, with torch's threads set, and print what runs."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", type=torch.device, default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, peft {peft.__version__}, {options.threads} thread(s), {options.rounds} rounds")
    print(torch.cuda.get_device_name(options.device) if options.device.type == "cuda" else "CPU", options.dtype)
    return options.rounds, options.device, getattr(torch, options.dtype)


def main():
    """Run both sizes and print the table."""
    rounds, device, dtype = read_options(__doc__)
    for size, (shapes, vocabulary, batch) in (SIZES | (LARGE if device.type == "cuda" else {})).items():
        models = contenders(shapes, vocabulary, device, dtype)
        tokens = torch.randint(0, vocabulary["vocab_size"], batch, generator=torch.Generator().manual_seed(1)).to(
            device
        )
        rounds = rounds * (4 if size == "tiny" else 1)
        with torch.no_grad():
            ours, theirs = (
                models[name](tokens).logits.float() for name in ("ours", "PEFT")
            )  # (batch, seq, vocabulary)
        assert (ours - theirs).norm() <= (1e-4 if dtype == torch.float32 else 0.1) * theirs.norm()
        del ours, theirs
        pairs = [("ours", "PEFT"), ("ours", "base"), ("PEFT", "base")]
        report(size, "forward", race(models, forward, tokens, rounds), pairs)
        adapted = {name: models[name] for name in ("ours", "PEFT")}
        report(size, "forward, backward", race(adapted, step, tokens, rounds), pairs[:1])
        models["ours"].merge()
        models["PEFT"] = models["PEFT"].merge_and_unload()
        report(size, "merged forward", race(models, forward, tokens, rounds), pairs)


if __name__ == "__main__":
    main()
