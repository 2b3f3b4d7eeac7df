"""What a forward leaves, counted without autograd's hooks: the storages that operations made and that live."""

import weakref
from contextlib import nullcontext

from lora_teach import LoRAModel
from lora_teach.loop.batches import loss_of
from lora_teach.measure.costs import SETTINGS, TINY_LLAMA, new_base, random_batch
from lora_teach.measure.fake_step import fake_step
from lora_teach.measure.measured_memory import as_found, checkpointed
from lora_teach.measure.predicted_memory import predict_memory, predict_peak

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

transformers = pytest.importorskip("transformers")


class Living(TorchDispatchMode):
    """Bytes of the storages that operations made and that still live: ``now`` and ``peak``."""

    def __init__(self):
        super().__init__()
        self.now, self.peak, self.known = 0, 0, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        given = {storage(tensor).data_ptr() for tensor in tensors((args, kwargs))}
        for tensor in tensors(out):
            place, size = storage(tensor).data_ptr(), storage(tensor).nbytes()
            if place not in given | self.known:  # neither a view of what was there, nor changed in place
                self.known.add(place)
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage(tensor), self.forget, place, size)
        return out

    def forget(self, place, size):
        self.known.discard(place)
        self.now -= size


def storage(tensor):
    return tensor.untyped_storage()


def tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def test_living_counts_what_lives():
    with Living() as living:
        one = torch.ones(100)
        two = one + 1
        view = two.view(10, 10)
        del one, two
        assert (living.now, living.peak) == (400, 800)
        del view
    assert living.now == 0


@pytest.mark.parametrize("name", ["NameGPT", "tiny Llama"])
@pytest.mark.parametrize("setting", ["full", "q v r4", "all linear r8"])
def test_what_lives_after_a_forward_was_predicted_and_the_worst_moment_holds_more(name, setting):
    base = new_base(name)
    predicted = predict_memory(base, 16, 17, **SETTINGS[setting]).activations
    batch, loss_fn = random_batch(base, 16, 17)
    model = LoRAModel(base, **SETTINGS[setting]) if SETTINGS[setting] else base
    with as_found(model):
        loss_of(model, batch, loss_fn).backward()  # the gradients lie there now, and are made no second time
        with Living() as living:
            loss = loss_of(model, batch, loss_fn)
            left = living.now
            loss.backward()
    # Indices and targets of the batch itself are among what is kept, and no operation of the step made them.
    assert left == pytest.approx(predicted, rel=0.01)
    assert predicted < living.peak < 1.5 * predicted


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_with_a_large_vocabulary_the_worst_moment_is_the_predicted_peak(setting, dtype):
    options = dict(SETTINGS[setting])
    base = transformers.LlamaForCausalLM(transformers.LlamaConfig(**TINY_LLAMA | {"vocab_size": 4000})).to(dtype)
    held, peak = predict_memory(base, 16, 17, **options), predict_peak(base, 16, 17, **options)
    batch, loss_fn = random_batch(base, 16, 17)
    checkpointing = options.pop("checkpointing", False)
    model = LoRAModel(base, **options) if options else base
    with as_found(model), checkpointed(model) if checkpointing else nullcontext():
        loss_of(model, batch, loss_fn).backward()  # the gradients lie there now, and are made no second time
        with Living() as living:
            loss_of(model, batch, loss_fn).backward()
    assert living.peak == pytest.approx(peak - held.total + held.activations, rel=0.01)
    assert living.peak > 2 * held.activations


@pytest.mark.parametrize("targets", [["layers.2.mlp.up_proj"], ["layers.1.mlp.up_proj"], ["lm_head"]], ids=str)
def test_a_checkpointed_block_before_all_adapters_keeps_nothing_not_even_its_input(targets):
    base = new_base("tiny Llama")
    options = {"rank": 2, "target_modules": targets}
    *_, end = fake_step(base, 16, 17, cache=False, **options).moments(checkpointing=True)
    batch, _ = random_batch(base, 16, 17)
    model = LoRAModel(base, **options)
    with as_found(model), checkpointed(model), Living() as living:
        loss = loss_of(model, batch)  # whose graph lives as long as it
        assert living.now == pytest.approx(sum(end.values()), rel=0.01)
        del loss
