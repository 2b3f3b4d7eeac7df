"""Eight adapters in one batch: `rows`, one call for each adapter, and PEFT's mixed batch.

    python tests/benchmarks/rows.py [--rounds 15] [--threads 1] [--device cuda]

The models, the clock and the turns are those of tests/benchmarks/method.py; forwards without gradients. "rows, kept" is
a further call inside the same block, as in ``generate``, where each row's factors lie ready.
"""

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lora_teach import LoRAModel
from tests.benchmarks.method import LAYERS, RANK, SIZES, race, report

import peft
import torch
import transformers

NAMES = [f"adapter{number}" for number in range(8)]


def adapted(shapes, vocabulary, device):
    """Return ours and PEFT's, with the same eight adapters."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**shapes, **vocabulary, max_position_embeddings=512)
    bases = [transformers.LlamaForCausalLM(config).to(device).eval() for _ in range(2)]
    bases[1].load_state_dict(bases[0].state_dict())
    ours = LoRAModel(bases[0], adapter_name=NAMES[0], rank=RANK, alpha=16, target_modules=LAYERS)
    for name in NAMES[1:]:
        ours.add_adapter(name, rank=RANK, alpha=16, target_modules=LAYERS)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        for parameter in ours.adapters.parameters():
            parameter.normal_(0, 0.05)
        for name in NAMES:
            ours.save_adapter(folder, name)
        theirs = peft.PeftModel.from_pretrained(bases[1], f"{folder}/{NAMES[0]}", adapter_name=NAMES[0])
        for name in NAMES[1:]:
            theirs.load_adapter(f"{folder}/{name}", name)
    return ours, theirs.eval()


def call(way, tokens):
    """A forward without gradients."""
    with torch.no_grad():
        return way(tokens)


def main():
    """Run both sizes with one row and with four rows for each adapter, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", type=torch.device, default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    print(f"torch {torch.__version__}, peft {peft.__version__}, {options.threads} thread(s), {options.rounds} rounds")
    for size, (shapes, vocabulary, (_, seq)) in SIZES.items():
        ours, theirs = adapted(shapes, vocabulary, options.device)
        for each in (1, 4):
            names = [name for name in NAMES for _ in range(each)]
            tokens = torch.randint(0, vocabulary["vocab_size"], (len(names), seq), device=options.device)

            def loop(tokens, ours=ours, each=each):
                outputs = []
                for number, name in enumerate(NAMES):
                    ours.set_adapter(name)
                    outputs.append(ours(tokens[number * each :][:each]).logits)
                return torch.cat(outputs)

            def rows(tokens, ours=ours, names=names):
                with ours.rows(names):
                    return ours(tokens).logits

            def kept(tokens, ours=ours):
                return ours(tokens).logits

            def mixed(tokens, theirs=theirs, names=names):
                return theirs(tokens, adapter_names=names).logits

            ways = {"loop": loop, "rows": rows, "PEFT": mixed}
            expected = call(loop, tokens)
            for way in (rows, mixed):
                assert (call(way, tokens) - expected).norm() <= 1e-4 * expected.norm()
            what = f"{each} row(s) each"
            taken = race(ways, call, tokens, options.rounds)
            report(size, what, taken, [("rows", "loop"), ("rows", "PEFT")])
            with ours.rows(names):
                taken = race({"rows, kept": kept, "PEFT": mixed}, call, tokens, options.rounds)
            report(size, what, taken, [("rows, kept", "PEFT")])


if __name__ == "__main__":
    main()
