"""What the base carries already, what it writes, and that it comes back as it was."""

import copy
import io

from lora_teach import LoRAModel, NonFiniteLoss, train, training_steps
from tests.toy import bits, filled, mlp, numbers, same_bits

import peft
import pytest
import torch
from torch import nn

mse = nn.functional.mse_loss


class Writing(nn.Sequential):
    """A base that can write itself, as transformers', timm's and sentence-transformers' do."""

    def save_pretrained(self, folder):
        return "written"

    push_to_hub = save_to_hub = save = save_model = save_pretrained


WRITING = ["save_pretrained", "push_to_hub", "save_to_hub", "save", "save_model"]


@pytest.mark.parametrize("name", WRITING)
def test_what_writes_the_base_alone_is_refused_unless_the_adapter_is_in_its_weights(name, tmp_path):
    model = filled(LoRAModel(Writing(nn.Linear(6, 4)), rank=2))
    with pytest.raises(AttributeError, match=rf"{name}.*without the adapter.*save_adapter.*remove\(merge=True\)"):
        getattr(model, name)(tmp_path)
    assert getattr(model.base_model, name)(tmp_path) == "written"
    with model.merged():
        assert getattr(model, name)(tmp_path) == "written"
    model.remove(merge=True)
    assert getattr(model, name)(tmp_path) == "written"


@pytest.mark.parametrize("name", WRITING)
def test_under_a_merge_saved_modules_would_be_left_out_and_it_is_refused_too(name, tmp_path):
    base = Writing(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    model = filled(LoRAModel(base, rank=2, target_modules=["0"], modules_to_save=["2"]))
    with model.merged(), pytest.raises(AttributeError, match=rf"{name}.*remove\(merge=True\)"):
        getattr(model, name)(tmp_path)
    copy = model.saved_modules["default"]["2"].weight.detach().clone()
    model.remove(merge=True)
    assert getattr(model, name)(tmp_path) == "written" and torch.equal(base[2].weight, copy)


class HandMade(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.lora_a, self.lora_b = nn.Linear(6, 2, bias=False), nn.Linear(2, 4, bias=False)


class Kohyas(nn.Module):
    def __init__(self):
        super().__init__()
        self.org_module = nn.Linear(6, 4)
        self.lora_down, self.lora_up = nn.Linear(6, 2, bias=False), nn.Linear(2, 4, bias=False)


def by_peft():
    return peft.get_peft_model(mlp(), peft.LoraConfig(r=2, target_modules=["0"]))


CARRYING = {
    "peft": (by_peft, "of peft.*merge_and_unload"),
    "inside peft": (lambda: by_peft().base_model.model, "'0' is a Linear of peft"),
    "injected": (lambda: peft.inject_adapter_in_model(peft.LoraConfig(r=2, target_modules=["0"]), mlp()), "of peft"),
    "IA3": (
        lambda: peft.get_peft_model(mlp(), peft.IA3Config(target_modules=["0"], feedforward_modules=["0"])),
        "peft",
    ),
    "made by hand": (lambda: nn.Sequential(HandMade()), "'0' is a HandMade"),
    "down and up": (lambda: nn.Sequential(Kohyas()), "'0' is a Kohyas"),
}


@pytest.mark.parametrize("kind", CARRYING)
def test_a_base_that_carries_adapters_already_is_refused(kind):
    make, words = CARRYING[kind]
    base = make()
    before = bits(base)
    with pytest.raises(ValueError, match=f"carries LoRA layers already.*{words}"):
        LoRAModel(base)
    assert same_bits(bits(base), before)


def test_once_merged_and_unloaded_it_is_taken():
    LoRAModel(by_peft().merge_and_unload(), rank=2)


class Counting(nn.Module):
    """Moves its buffers in training: in place, by another tensor, and one that is a cache."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("cache", torch.zeros(8), persistent=False)

    def forward(self, x):
        if self.training:
            self.mean.lerp_(x.detach().mean(0), 0.5)
            self.calls = self.calls + 1
            self.cache = x.detach()[0]
        return x - self.mean.clone()


def with_norm(norm):
    base = nn.Sequential(nn.Linear(6, 8), norm, nn.ReLU(), nn.Linear(8, 4))
    return filled(LoRAModel(base, rank=2)), base


def spectral():
    return nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)))


MOVING = {
    "BatchNorm": lambda: nn.BatchNorm1d(8),
    "buffers of one's own": Counting,
    "spectral norm": spectral,
    "by the average": lambda: nn.BatchNorm1d(8, momentum=None),
    "within": lambda: nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)),
}


@pytest.mark.parametrize("kind", MOVING)
def test_training_moves_no_buffer_of_a_frozen_base(kind):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(6, 8), MOVING[kind](), nn.Linear(8, 4)).eval()
    x, before = numbers(5, 6), bits(base)
    expected = base(x)
    model = LoRAModel(base, rank=2)
    batches = [(10 * numbers(5, 6, seed=n), numbers(5, 4)) for n in range(3)]
    for step in training_steps(model, batches, mse, lr=0.1, steps=5):
        if step.index == 3:
            with model.disabled(), torch.no_grad():
                assert torch.equal(model.eval()(x), expected)
    assert same_bits(bits(base), before)
    with model.disabled():
        assert torch.equal(model(x), expected)
    assert torch.equal(model.remove()(x), expected)


@pytest.mark.parametrize("kind", MOVING)
def test_a_batch_of_nan_leaves_every_buffer_finite(kind):
    torch.manual_seed(0)
    for wrap in (lambda base: LoRAModel(base, rank=2), lambda base: base):
        model = wrap(nn.Sequential(nn.Linear(6, 8), MOVING[kind](), nn.Linear(8, 4)))
        good, bad = (numbers(5, 6), numbers(5, 4)), (numbers(5, 6) * torch.nan, numbers(5, 4))
        with pytest.raises(NonFiniteLoss, match="the inputs of this batch hold nan"):
            train(model, [good, good, bad], mse, steps=3, progress=False)
        assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_a_loop_of_ones_own_moves_no_running_statistic_and_the_modes_come_back():
    base = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 4))
    before = bits(base)
    model = LoRAModel(base, rank=2)
    model(numbers(5, 6))
    model.eval()
    assert model.train() is model and base[2].training and not base[1].training
    model(numbers(5, 6))
    assert same_bits(bits(base), before)
    model.remove()
    assert base[1].training


def test_a_norm_that_is_trained_whole_keeps_what_it_learnt_and_takes_it_along(tmp_path):
    def base():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))

    model = LoRAModel(base(), rank=2, modules_to_save=["1"])
    train(model, [(3 + numbers(5, 6), numbers(5, 4))], mse, steps=4, progress=False)
    assert model.saved_modules["default"]["1"].num_batches_tracked == 4
    model.save_adapter(tmp_path)
    again = LoRAModel.from_pretrained(base().eval(), tmp_path)
    assert torch.equal(again(numbers(2, 6)), model.eval()(numbers(2, 6)))


def by_torch_save(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, by_torch_save])
def test_a_copy_made_inside_a_block_is_in_no_block(duplicate):
    model, x = filled(LoRAModel(mlp(), rank=2)), numbers(3, 6)
    expected = model(x)
    with model.disabled():
        one = duplicate(model)
        within = duplicate(nn.ModuleList([model]))[0]
    with model.merged():
        merged = duplicate(model)
    for found in (one, within):
        assert not found.is_disabled and torch.equal(found(x), expected)
        found.set_adapter(None)
    assert merged.is_merged and torch.allclose(merged(x), expected, atol=1e-6)
    merged.unmerge()
    assert torch.equal(merged(x), expected)


@pytest.mark.parametrize("kind", ["BatchNorm", "by the average", "spectral norm", "within"])
def test_a_loop_of_ones_own_moves_nothing_of_the_base_either(kind):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(6, 8), MOVING[kind](), nn.Linear(8, 4))
    modes, before = [module.training for module in base.modules()], bits(base)
    model = LoRAModel(base, rank=2, target_modules="[02]")
    model.train()(numbers(5, 6)).sum().backward()
    assert same_bits(bits(model.remove()), before) and [module.training for module in base.modules()] == modes
