"""Merging: folding updates into the weights, and taking them out again to the last bit."""

from lora_teach import LoRALayer, LoRAModel
from lora_teach.overlay import merging
from lora_teach.overlay.nested_modules import walk
from tests.toy import TinyGPT, bits, filled, fixed, mlp, numbers, picture, same_bits, same_picture, tokens

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture
def model():
    model = LoRAModel(mlp(), alpha=6)
    model.add_adapter("b", rank=2, learnable_scaling=True)
    return filled(model)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("choice", ["default", {"default": 0.7, "b": -0.4}, {"b": 0.5}], ids=str)
def test_merged_equals_unmerged_and_unmerging_restores_the_last_bit(dtype, choice):
    model = LoRAModel(mlp(dtype))
    model.add_adapter("b", rank=2)
    filled(model).set_adapter(choice)
    x, before = numbers(5, 6, dtype=dtype), bits(model.base_model)
    output = model(x)
    model.merge()
    assert model.is_merged
    assert not same_bits(before, bits(model.base_model))
    limit = {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 0.02)
    assert (model(x) - output).abs().max() <= limit * output.abs().max()
    model.unmerge()
    assert not model.is_merged
    assert same_bits(before, bits(model.base_model))
    assert torch.equal(model(x), output)


def test_subtracting_would_not_restore_the_bits(model):
    layer, weight = model.lora_layers["0"], model.base_model[0].weight.detach().clone()
    with torch.no_grad():
        again = weight + layer.delta_weight() - layer.delta_weight()
    assert not torch.equal(again, weight)


def test_merging_three_times_is_merging_once(model):
    model.merge()
    once = bits(model.base_model)
    model.merge()
    model.merge()
    assert same_bits(once, bits(model.base_model))
    model.unmerge()
    assert same_bits(bits(model.base_model), bits(mlp()))
    model.unmerge()
    assert same_bits(bits(model.base_model), bits(mlp()))


def test_what_is_merged_is_the_weight_plus_delta_weight(model):
    weights = {name: model.base_model.get_submodule(name).weight.clone() for name in model.lora_layers}
    with model.merged():
        for name, layer in model.lora_layers.items():
            assert torch.equal(model.base_model.get_submodule(name).weight, weights[name] + layer.delta_weight())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_mixture_is_summed_wide_and_cast_once(dtype):
    base = fixed(nn.Linear(64, 64)).to(dtype)
    model = LoRAModel(base)
    for name in ("b", "c"):
        model.add_adapter(name)
    filled(model, std=0.05).set_adapter({"default": 1.0, "b": 1.0, "c": -0.5})
    wide = base.weight.detach().double()
    for name, weight in model.active_adapters.items():
        wide += weight * model.adapters[name][""].delta_weight().detach().double()
    with model.merged():
        off = (base.weight != wide.to(dtype)).float().mean()
        assert off < 0.01  # sums in float32 and float64 may round apart once in a while, never more
        assert (base.weight.double() - wide).abs().max() <= torch.finfo(dtype).eps * wide.abs().max()


def test_the_merged_weight_is_in_place_and_the_backup_outside_the_state_dict(model):
    weight, keys = model.base_model[0].weight, list(bits(model))
    address = weight.data_ptr()
    with model.merged():
        assert model.base_model[0].weight is weight
        assert weight.data_ptr() == address
        assert list(bits(model)) == keys


class Holder(nn.Module):
    """A module of a user's own that holds the LoRAModel."""

    def __init__(self, model):
        super().__init__()
        self.model = model


STATES = {
    "its own": lambda model, state: model.state_dict(),
    "of what holds it": lambda model, state: Holder(model).state_dict(),
    "loading": lambda model, state: model.load_state_dict(state),
    "loading some": lambda model, state: model.load_state_dict({}, strict=False),
    "loading into what holds it": lambda model, state: Holder(model).load_state_dict(
        {f"model.{key}": value for key, value in state.items()}
    ),
}


@pytest.mark.parametrize("use", STATES.values(), ids=STATES)
def test_a_state_dict_under_a_merge_would_count_the_update_twice_and_is_refused(model, use):
    x, state, output = numbers(3, 6), bits(model), model(numbers(3, 6))
    with model.merged():
        before = picture(model)
        with pytest.raises(RuntimeError, match=r"state_dict\(\).*merged.*unmerge\(\) first"):
            use(model, {key: value + 1 for key, value in state.items()})
        assert same_picture(before, picture(model))
        merged = mlp(seed=9)
        merged.load_state_dict(model.base_model.state_dict())  # as the message says
        assert torch.allclose(merged(x), output, atol=1e-5)
    use(model, state)
    assert same_bits(bits(model), state)


def test_requires_grad_and_modes_stay_through_a_merge(model):
    before = picture(model)
    with model.merged():
        inside = picture(model)
        assert inside["flags"] == before["flags"]
        assert inside["modes"] == before["modes"]
        assert inside["hooks"] == before["hooks"]
    assert same_picture(before, picture(model))


@pytest.mark.parametrize(
    "change",
    [
        lambda m, folder: m.set_adapter("b"),
        lambda m, folder: m.set_adapter(None),
        lambda m, folder: m.add_adapter("c"),
        lambda m, folder: m.delete_adapter("default"),
        lambda m, folder: m.load_adapter(folder, "c"),
        lambda m, folder: m.set_alpha(2),
    ],
)
def test_while_merged_nothing_can_be_changed(model, change, tmp_path):
    model.save_adapter(tmp_path)
    model.merge()
    before = picture(model)
    with pytest.raises(RuntimeError, match=r"merged.*unmerge\(\) first"):
        change(model, tmp_path)
    assert same_picture(before, picture(model))


def test_merged_restores_what_it_found(model):
    with model.merged():
        assert model.is_merged
        with model.merged():
            pass
        assert model.is_merged
    assert not model.is_merged
    model.merge()
    with model.merged():
        assert model.is_merged
    assert model.is_merged
    with model.merged():
        model.unmerge()
    assert model.is_merged
    with pytest.raises(ZeroDivisionError), model.merged():
        1 / 0  # noqa: B018
    assert model.is_merged
    model.unmerge()
    with pytest.raises(ZeroDivisionError), model.merged():
        1 / 0  # noqa: B018
    assert not model.is_merged


def test_merging_with_no_adapter_is_refused(model):
    model.set_adapter(None)
    with pytest.raises(RuntimeError, match=r"nothing to merge.*set_adapter\(name\)"):
        model.merge()
    assert not model.is_merged
    model.unmerge()  # without a merge it does nothing


def test_a_backward_that_was_pending_fails_loudly(model):
    loss, another = model(numbers(5, 6)).sum(), model(numbers(5, 6)).sum()
    model.merge()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()
    model.unmerge()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        another.backward()


def test_saving_while_merged_saves_the_adapter(model, tmp_path):
    x = numbers(3, 6)
    output = model(x)
    with model.merged():
        model.save_adapter(tmp_path)
    assert torch.equal(LoRAModel.from_pretrained(mlp(), tmp_path)(x), output)


def test_a_merged_model_keeps_its_saved_modules_in_use():
    model = filled(LoRAModel(TinyGPT(tied=False), target_modules=["q_proj"], modules_to_save=["head"])).eval()
    output = model(tokens())
    with model.merged():
        assert torch.allclose(model(tokens()), output, atol=1e-5)
        with model.disabled():
            assert torch.equal(model(tokens()), TinyGPT(tied=False).eval()(tokens()))


# What cannot be merged into is refused, and nothing has changed.


def refused(model, pattern):
    before = picture(model)
    for merge in (model.merge, lambda: model.remove(merge=True)):
        with pytest.raises(ValueError, match=pattern):
            merge()
        assert not model.is_merged
        assert same_picture(before, picture(model))


def test_a_shared_weight_is_refused():
    base = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4), "c": nn.Linear(4, 4)})
    base["c"].weight = base["a"].weight
    refused(filled(LoRAModel(base, target_modules=["b", "a"])), "a: its weight is shared with c.weight.*clone")


def test_a_weight_that_the_base_itself_holds_too_is_refused_under_its_name_there():
    base = nn.Sequential(nn.Linear(4, 4))
    base.own = base[0].weight
    refused(filled(LoRAModel(base)), "0: its weight is shared with own, which merging would change")


def test_a_head_that_was_tied_after_the_overlay_is_refused():
    base = TinyGPT(tied=False)
    model = filled(LoRAModel(base))
    base.head.weight = base.embedding.weight
    refused(model, "head: its weight is shared with embedding.weight")


class Int8Linear(nn.Linear):
    """A linear layer whose weight is stored in eight bits, as quantising libraries do it."""

    def __init__(self, linear):
        super().__init__(linear.in_features, linear.out_features)
        self.scale = (linear.weight.abs().max() / 127).item()
        self.weight = nn.Parameter((linear.weight / self.scale).round().to(torch.int8), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x):
        return nn.functional.linear(x, self.weight.to(x.dtype) * self.scale, self.bias)


def test_a_quantised_weight_is_adapted_but_not_merged_into():
    base = mlp()
    base[2] = Int8Linear(base[2])
    x = numbers(3, 6)
    plain = base(x)
    model = filled(LoRAModel(base))
    assert model.lora_layers["2"].lora_A.dtype == torch.float32
    hidden = base[:2](x)
    assert torch.allclose(model(x), base[2].forward(hidden) + model.lora_layers["2"](hidden), atol=1e-6)
    model(x).sum().backward()
    assert model.lora_layers["2"].lora_A.grad is not None
    with model.disabled():
        assert torch.equal(model(x), plain)
    refused(model, "2: its weight is quantised.*int8")


def test_an_eight_bit_float_is_quantised_too():
    base = mlp()
    model = filled(LoRAModel(base))
    base[2].weight = nn.Parameter(base[2].weight.to(torch.float8_e4m3fn), requires_grad=False)
    with pytest.raises(ValueError, match="2: its weight is quantised.*float8_e4m3fn"):
        model.merge()
    assert same_bits(bits(base[0]), bits(mlp()[0]))
    assert not model.is_merged


def test_a_weight_on_the_meta_device_is_refused():
    with torch.device("meta"):
        base = nn.Sequential(nn.Linear(6, 8))
    with pytest.raises(ValueError, match="0: its weight is on the meta device.*Load"):
        LoRAModel(base).merge()


def test_the_weight_of_a_conv1d_is_the_other_way_round():
    transformers = pytest.importorskip("transformers")
    model = filled(LoRAModel(nn.Sequential(fixed(transformers.pytorch_utils.Conv1D(6, 6)))))  # square: no shape tells
    x = numbers(3, 6)
    output = model(x)
    with model.merged():
        assert torch.allclose(model(x), output, atol=1e-6)


def test_a_layer_without_a_delta_weight_is_refused(model):
    model.lora_layers["2"] = nn.Linear(8, 4)
    refused(model, r"2: Linear has no delta_weight\(\), so it cannot be merged")


def test_a_parametrised_bias_is_refused_too():
    base = mlp()
    nn.utils.parametrize.register_parametrization(base[2], "bias", nn.Identity())
    refused(filled(LoRAModel(base)), "2: its weight is parametrised")


def test_a_parametrised_weight_is_refused():
    base = mlp()
    base[2] = parametrizations.weight_norm(base[2])
    model = LoRAModel(base)
    with pytest.raises(ValueError, match="2: its weight is parametrised.*remove_parametrizations"):
        model.merge()
    assert same_bits(bits(base[0]), bits(mlp()[0]))
    with torch.no_grad():  # beside it, the adapter works
        model.lora_layers["2"].lora_B.fill_(1)
    assert not torch.equal(model(numbers(2, 6)), mlp()(numbers(2, 6)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_an_overflow_is_refused(dtype):
    model = filled(LoRAModel(mlp(dtype)))
    with torch.no_grad():
        model.lora_layers["2"].lora_B.fill_(torch.finfo(dtype).max / 2)
        model.lora_layers["2"].lora_A.fill_(10)
    refused(model, f"2: the merged weight is not finite in {dtype}.*lower alpha")


def test_an_adapter_with_nan_is_refused(model):
    with torch.no_grad():
        model.lora_layers["2"].lora_A[0, 0] = float("nan")
    refused(model, "2: the merged weight is not finite.*nan")


def test_remove_with_merge_refuses_a_saved_head_that_is_tied():
    model = filled(LoRAModel(TinyGPT(), target_modules=["q_proj"], modules_to_save=["head"])).eval()
    output = model(tokens())
    before = picture(model)
    with pytest.raises(ValueError, match="head.*shared with embedding.weight"):
        model.remove(merge=True)
    assert same_picture(before, picture(model))
    assert torch.equal(model(tokens()), output)
    assert same_bits(bits(model.remove()), bits(TinyGPT()))


# Interrupted half way.


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_ctrl_c_half_way_restores_everything(monkeypatch, at):
    model = filled(LoRAModel(TinyGPT()))
    before, calls, real = picture(model), [], merging.merged_weight

    def interrupted(module, parts):
        calls.append(module)
        if len(calls) == at:
            raise KeyboardInterrupt
        return real(module, parts)

    monkeypatch.setattr(merging, "merged_weight", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.merge()
    assert not model.is_merged
    assert same_picture(before, picture(model))
    monkeypatch.undo()
    model.merge()


def test_ctrl_c_between_the_copying_of_a_weight_and_the_next_restores_everything(monkeypatch):
    model = filled(LoRAModel(TinyGPT()))
    before, real = picture(model), torch.Tensor.copy_

    def interrupted(self, *args, **kwargs):
        real(self, *args, **kwargs)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.Tensor, "copy_", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.merge()
    assert same_picture(before, picture(model))


def test_a_learners_layer_can_be_merged_if_it_has_delta_weight():
    class Mine(LoRALayer):
        def forward(self, x):
            return 2 * super().forward(x)

        def delta_weight(self):
            return 2 * super().delta_weight()

    model = LoRAModel(mlp())
    model.lora_layers["2"] = Mine(8, 4)
    filled(model)
    x = numbers(3, 6)
    output = model(x)
    with model.merged():
        assert torch.allclose(model(x), output, atol=1e-5)


@pytest.mark.parametrize(("options", "calls"), [({}, 0), ({"modules_to_save": ["2"]}, 1)], ids=["plain", "saved"])
def test_a_merged_model_calls_no_layer_but_the_saved_modules(options, calls):
    base = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    model = LoRAModel(base, rank=1, target_modules=["0"], **options)
    seen = []
    for modules in (model.lora_layers, model.saved_modules["default"]):
        for _, layer in walk(modules):
            layer.register_forward_hook(lambda *_: seen.append(1))
    with model.merged():
        model(torch.ones(1, 4))
        assert len(seen) == calls
    model(torch.ones(1, 4))
    assert len(seen) == 2 * calls + 1
