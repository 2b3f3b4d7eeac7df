"""The measured memory of a step, against what can be counted by hand; and that measuring leaves no trace."""

from lora_teach import LoRAModel
from lora_teach.bases.name_gpt import NameGPT
from lora_teach.measure.costs import new_base, random_batch
from lora_teach.measure.measured_memory import Saved, checkpointed, measure_memory

import pytest
import torch
from torch import nn

pytest.importorskip("transformers")


def test_a_measured_step_is_what_the_hand_counts():
    model = nn.Sequential(nn.Linear(10, 20), nn.GELU(), nn.Linear(20, 3))
    x, y = torch.zeros(7, 10), torch.zeros(7, 3)
    measured = measure_memory(model, (x, y), nn.functional.mse_loss)
    weights = 4 * (10 * 20 + 20 + 20 * 3 + 3)
    assert (measured.weights, measured.gradients, measured.adapters) == (weights, weights, 0)
    assert measured.optimiser == 2 * weights + 4 * 4  # two numbers for each, and a count for each of four tensors
    # The first layer's input, the GELU's input, the second layer's input; of the loss the output and the target.
    assert measured.activations == 4 * 7 * (10 + 20 + 20 + 3 + 3)


def test_a_storage_counts_once_and_a_parameter_never():
    x = torch.ones(5, requires_grad=True)
    weight = nn.Parameter(torch.ones(5))
    saved = Saved([weight])
    with saved.watching():
        y = x * weight  # keeps both
        z = y.exp() * y.view(5, 1).squeeze(1)  # keeps exp(y), for two reasons, and y, as a view
    assert saved.now == saved.peak == 3 * 5 * 4
    z.sum().backward()
    del z, y
    assert (saved.now, saved.peak) == (0, 3 * 5 * 4)


def test_measuring_leaves_the_model_as_it_was():
    base = NameGPT()
    model = LoRAModel(base, rank=2)
    model.trainable_parameters()[0].grad = gradient = torch.ones_like(model.trainable_parameters()[0])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch, loss_fn = random_batch(base, 3, 5)
    state = torch.random.get_rng_state()
    measure_memory(model, batch, loss_fn, checkpointing=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.trainable_parameters()[0].grad is gradient
    assert all(parameter.grad is None for parameter in model.trainable_parameters()[1:])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all("forward" not in vars(module) for module in model.modules())


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("name", ["NameGPT", "tiny Llama"])
def test_a_checkpointed_step_makes_the_same_gradients(name, reentrant):
    base = new_base(name)
    model = LoRAModel(base, rank=2)
    with torch.no_grad():
        for layer in model.lora_layers.values():
            layer.lora_B.normal_(generator=torch.Generator().manual_seed(0))
    batch, loss_fn = random_batch(base, 3, 9)

    def gradients():
        loss = loss_fn(model(batch[0]), batch[1]) if loss_fn else model(**batch).loss
        return torch.autograd.grad(loss, model.trainable_parameters())

    plain = gradients()
    runs = []
    handles = [layer.register_forward_hook(lambda *_: runs.append(1)) for layer in model.lora_layers.values()]
    if reentrant:  # torch.autograd.grad doesn't go with that form
        with checkpointed(model, reentrant=True):
            (loss_fn(model(batch[0]), batch[1]) if loss_fn else model(**batch).loss).backward()
        again = [parameter.grad for parameter in model.trainable_parameters()]
    else:
        with checkpointed(model):
            again = gradients()
    for handle in handles:
        handle.remove()
    assert len(runs) > 1.5 * len(handles)  # computed a second time
    assert all(torch.allclose(left, right, rtol=1e-4, atol=1e-6) for left, right in zip(plain, again, strict=True))


def test_nothing_to_measure_is_an_error():
    model = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter requires a gradient"):
        measure_memory(model, (torch.zeros(1, 2), torch.zeros(1, 2)), nn.functional.mse_loss)
    with pytest.raises(ValueError, match="no nn.ModuleList"):
        measure_memory(
            nn.Linear(2, 2), (torch.zeros(1, 2), torch.zeros(1, 2)), nn.functional.mse_loss, checkpointing=True
        )
    with pytest.raises(ValueError, match="optimizer='adam' is not known. Use one of adamw"):
        measure_memory(nn.Linear(2, 2), (torch.zeros(1, 2), torch.zeros(1, 2)), nn.functional.mse_loss, "adam")
