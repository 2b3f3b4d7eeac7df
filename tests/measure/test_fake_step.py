"""Steps on fake tensors: between the shapes that were run, beyond the third block, and whatever was changed since."""

from lora_teach.bases.name_gpt import NameGPT
from lora_teach.measure import fake_step as module
from lora_teach.measure.costs import TINY_LLAMA
from lora_teach.measure.fake_step import fake_step

import pytest
import torch

transformers = pytest.importorskip("transformers")

OPTIONS = {"full": {}, "r3": {"rank": 3}, "v r3": {"rank": 3, "target_modules": ["v_proj"]}, "padded": {"padded": True}}


def llama(**changes):
    config = transformers.LlamaConfig(
        **TINY_LLAMA | {"num_hidden_layers": 6, "max_position_embeddings": 4096} | changes
    )
    with torch.device("meta"):
        return transformers.LlamaForCausalLM(config)


def costs(step):
    return step.moments(), step.moments(checkpointing=True), step.flops()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_what_is_scaled_and_repeated_is_what_a_run_of_all_blocks_at_that_shape_says(options, monkeypatch):
    for shape in ((2, 7), (3, 40), (9, 130)):
        short = costs(fake_step(llama(), *shape, **options))
        with monkeypatch.context() as patch:
            patch.setattr(module, "_known", {})
            patch.setattr(module, "LENGTHS", [])  # no shape is scaled
            patch.setattr(module, "_alike", lambda *_: False)  # all blocks run
            run = costs(fake_step(llama(), *shape, **options))
        assert (short[0], short[2]) == (run[0], run[2])
        assert short[1][-2:] == run[1][-2:] and max(map(size, short[1])) == max(map(size, run[1]))


def size(kinds):
    return sum(kinds.values())


def test_a_window_inside_the_lengths_is_run_at_each_length():
    sizes = TINY_LLAMA | {"sliding_window": 16, "max_position_embeddings": 4096}
    model = transformers.MistralForCausalLM(transformers.MistralConfig(**sizes))
    kept = {seq: size(fake_step(model, 4, seq).moments()[-1]) / seq for seq in (8, 15, 32)}
    assert kept[8] == pytest.approx(kept[15], rel=0.001)
    assert kept[32] > 1.05 * kept[15]  # a mask


def test_what_was_changed_since_is_seen():
    model = NameGPT()
    before = size(fake_step(model, 4, 8).moments()[-1])
    for block in model.blocks:
        block.attention.heads = 8  # one number of the softmax for each
    assert size(fake_step(model, 4, 8).moments()[-1]) - before == 3 * 4 * (4 * 8 * 4)
    model.half()
    assert size(fake_step(model, 4, 8).moments()[-1]) < before


def test_a_thousand_shapes_run_twice(monkeypatch):
    runs = []
    once = module._Setting._run
    monkeypatch.setattr(module._Setting, "_run", lambda self, shape: runs.append(shape) or once(self, shape))
    model = llama(vocab_size=101)
    for batch in range(1, 41):
        for rank in range(1, 6):
            for seq in (1, 100, 1000):
                fake_step(model, batch, seq, rank=rank)
    assert len(runs) == 2
