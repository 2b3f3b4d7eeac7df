"""One look before training, saving and merging: what is counted, trained and saved has an effect."""

import copy

from lora_teach import LoRAModel, train
from tests.toy import TinyGPT, bits, filled, mlp, numbers, same_bits

import pytest
import torch
from torch import nn

mse = nn.functional.mse_loss


def data(count=2):
    return [(numbers(5, 6, seed=n), numbers(5, 4, seed=10 + n)) for n in range(count)]


def trained(model, **options):
    return train(model, data(), mse, **{"steps": 3, "progress": False} | options)


def replaced(model):
    model.base_model[2] = nn.Linear(8, 4)


def taken_out(model):
    del model.base_model[2]


def resized(model):
    model.base_model[2].weight = nn.Parameter(torch.zeros(5, 8))
    model.base_model[2].out_features = 5


def hooks_cleared(model):
    model.base_model[2]._forward_hooks.clear()


def swapped_by_a_copy(model):
    model.base_model[2] = nn.Sequential(nn.Linear(8, 4))


def resized_in_its_data(model):
    model.base_model[2].weight.data, model.base_model[2].bias.data = torch.zeros(5, 8), torch.zeros(5)


CHANGES = [replaced, taken_out, resized, resized_in_its_data, hooks_cleared, swapped_by_a_copy]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("options", [{}, {"target_modules": ["0"], "modules_to_save": ["2"]}], ids=["adapted", "saved"])
def test_a_base_that_was_changed_under_the_overlay_is_seen_before_it_matters(tmp_path, change, options):
    model = filled(LoRAModel(mlp(), rank=2, **options))
    change(model)
    for use in (lambda: trained(model), model.merge, lambda: model.save_adapter(tmp_path / "new")):
        with pytest.raises(RuntimeError, match="'2' was (replaced|resized).*no effect there.*remove"):
            use()
    assert not (tmp_path / "new").exists() and not model.is_merged


@pytest.mark.parametrize("kind", ["two layers", "blocks in reverse", "a block less"])
def test_modules_that_changed_places_under_the_overlay_are_seen(tmp_path, kind):
    base = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6)) if kind == "two layers" else TinyGPT(tied=False)
    model = filled(LoRAModel(base, rank=2))
    if kind == "two layers":
        base[0], base[2] = base[2], base[0]
    elif kind == "blocks in reverse":
        base.blocks = nn.ModuleList(reversed(base.blocks))
    else:
        del base.blocks[0]
    for use in (model.merge, lambda: model.save_adapter(tmp_path / "new"), lambda: trained(model)):
        with pytest.raises(RuntimeError, match="was replaced.*no effect there"):
            use()


def test_a_module_replaced_under_a_merge_is_seen_when_it_is_undone():
    model = filled(LoRAModel(mlp(), rank=2))
    old, before = model.base_model[2], bits(model.base_model)
    model.merge()
    replaced(model)
    with pytest.raises(RuntimeError, match="'2' was replaced"):
        model.unmerge()
    model.base_model[2] = old
    model.unmerge()
    assert same_bits(bits(model.base_model), before)


def test_what_does_no_harm_is_let_through(tmp_path):
    model = filled(LoRAModel(mlp(), rank=2))
    model.base_model[0].weight = nn.Parameter(model.base_model[0].weight.detach().clone(), requires_grad=False)
    model.base_model.load_state_dict(mlp(seed=4).state_dict())  # other weights in the same places
    model.base_model[0].register_forward_hook(lambda *_: None)
    copied = copy.deepcopy(model)
    for one in (model, copied, nn.Sequential(copied)):
        trained(one)
    copied.save_adapter(tmp_path)
    with copied.merged():
        pass


SLEEPING = {
    "alpha": ({"alpha": 0}, lambda model: None, "alpha=0 makes the scaling 0"),
    "too small for float32": ({"alpha": 1e-300}, lambda model: None, "alpha=1e-300 makes the scaling 0"),
    "set_alpha": ({}, lambda model: model.set_alpha(0.0), "alpha=0.0 makes the scaling 0"),
    "one layer": ({"alpha_pattern": {"2": 0}}, lambda model: None, "^2: alpha=0"),
    "a learnable scaling": ({"alpha": 0, "learnable_scaling": True}, lambda model: None, "alpha=0"),
    "both factors": (
        {},
        lambda model: [p.data.zero_() for p in model.lora_layers.parameters()],
        "both factors are zero.*reset",
    ),
    "a mixture": ({}, lambda model: model.set_adapter({"default": 0.0}), "weight 0 in the mixture"),
}


@pytest.mark.parametrize("kind", SLEEPING)
def test_what_would_train_nothing_is_said_before_the_first_step(kind):
    options, change, words = SLEEPING[kind]
    model = LoRAModel(mlp(), rank=2, **options)
    change(model)
    before = bits(model)
    with pytest.raises(ValueError, match=words):
        trained(model)
    assert same_bits(bits(model), before)


def test_a_learnable_scaling_of_zero_trains_once_b_is_not_zero():
    model = filled(LoRAModel(mlp(), rank=2, learnable_scaling=True))
    model.set_alpha(0)
    trained(model)
    assert all(layer.scaling.any() for layer in model.lora_layers.values())


@pytest.mark.parametrize("held", ["merged", "disabled"])
def test_an_adapter_that_is_not_in_use_is_not_trained(held):
    model = LoRAModel(mlp(), rank=2)
    with getattr(model, held)(), pytest.raises(RuntimeError, match=f"the model is (inside )?{held}"):
        trained(model)


@pytest.mark.parametrize("which", [lambda base: base, lambda base: base[0], lambda base: base[2].bias])
def test_a_base_that_was_unfrozen_would_train_into_no_file_so_it_is_said(which):
    model = LoRAModel(mlp(), rank=2)
    which(model.base_model).requires_grad_(True)
    with pytest.warns(UserWarning, match="of the base require gradients.*modules_to_save"):
        trained(model)


class Functional(nn.Module):
    """A layer whose weight is read, as fused kernels do, beside one that is called."""

    def __init__(self):
        super().__init__()
        self.called, self.read = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x):
        return self.called(x) + nn.functional.linear(x, self.read.weight, self.read.bias)


class Unused(Functional):
    """A layer that nothing ever calls."""

    def forward(self, x):
        return self.called(x)


class ByHand(Functional):
    """A layer whose weight is used transposed, as in a tied decoder."""

    def forward(self, x):
        return self.called(x) + x @ self.read.weight.T


@pytest.mark.parametrize("kind", [Functional, Unused, ByHand])
@pytest.mark.parametrize(
    "options", [{}, {"target_modules": ["called"], "modules_to_save": ["read"]}], ids=["lora", "saved"]
)
def test_parameters_without_a_gradient_are_named_after_the_first_backward(kind, options):
    model = LoRAModel(kind(), rank=2, **options)
    with pytest.warns(UserWarning, match=r"^2 of 4 trainable parameters got no gradient.*\.read\.") as caught:
        trained(model)
    assert len(caught) == 1 and ".called." not in str(caught[0].message)


def test_where_nothing_gets_a_gradient_nothing_is_trained():
    model = LoRAModel(Unused(), rank=2, target_modules=["read"])
    loose = torch.ones((), requires_grad=True)
    with pytest.raises(ValueError, match="no trainable parameter got a gradient"):
        train(model, data(), lambda output, targets: loose * 2, steps=2, progress=False)


def a_group_at_rate_zero(model):
    parameters = list(model.parameters())
    groups = [{"params": parameters[:2], "lr": 0.0}, {"params": parameters[2:], "lr": 0.1}]
    return trained(model, optimizer=torch.optim.SGD(groups))


def a_dead_unit(model):
    model[0].bias.data.fill_(-1e3)
    return trained(model)


@pytest.mark.parametrize("way", [a_group_at_rate_zero, a_dead_unit])
def test_parameters_that_never_moved_are_named_at_the_end(way):
    with pytest.warns(UserWarning, match="never moved.*0.weight, 0.bias"):
        way(mlp())


def test_steps_too_small_for_half_precision_are_named():
    model = nn.Sequential(nn.Linear(6, 4)).bfloat16()
    batches = [(x.bfloat16(), y.bfloat16()) for x, y in data()]
    with pytest.warns(UserWarning, match="2 of 2 trainable parameters never moved"):
        train(model, batches, mse, lr=1e-9, steps=3, progress=False)


@pytest.mark.parametrize("seconds", [1, 2])
def test_a_healthy_run_warns_of_nothing(seconds):
    trained(LoRAModel(mlp(), rank=2), steps=seconds)  # in the first step A stands still, since B is zero
    train(LoRAModel(TinyGPT(tied=False), rank=2), [(torch.arange(4)[None], torch.arange(4)[None])] * 2,
          lambda out, t: nn.functional.cross_entropy(out.flatten(0, 1), t.flatten()), steps=2,
          progress=False)  # fmt: skip
