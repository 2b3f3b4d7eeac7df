"""PiSSA: PEFT's start, outputs, gradients and converted file, over a base that stays untouched."""

import copy
import warnings

from lora_teach import LoRAConfig, LoRAModel, train
from lora_teach.layers.pissa import PiSSALayer
from lora_teach.peft_format.xray import lint, xray
from tests.test_architectures import close, gpt2, llama, make
from tests.toy import bits, filled, fixed, mlp, numbers, pairs, picture, same_bits, same_picture

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
WEIGHTS = "adapter_model.safetensors"


def twin_of(model, base, rank=4, **options):
    """PEFT's PiSSA over an equal base, started by PEFT itself."""
    config = peft.LoraConfig(
        r=rank, lora_alpha=6, init_lora_weights="pissa", target_modules=list(model.lora_layers), **options
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.get_peft_model(base, config)


def pairs_of(model, twin):
    for name, layer in model.lora_layers.items():
        theirs = twin.base_model.model.get_submodule(name)
        yield layer, theirs.lora_A["default"].weight, theirs.lora_B["default"].weight


def trained(model, steps=6):
    train(model, pairs(), nn.functional.mse_loss, lr=3e-2, steps=steps, progress=False)
    return model


@pytest.mark.parametrize("scaling", ["alpha/r", "alpha/sqrt(r)"])
@pytest.mark.parametrize("maker", [llama, gpt2], ids=lambda maker: maker.__name__)  # Linear and Conv1D, with bias
def test_start_outputs_and_gradients_equal_pefts(maker, scaling):
    base, batch = make(maker, torch.float32)
    plain = base(**batch).logits
    model = LoRAModel(base, init="pissa", alpha=6, scaling=scaling)
    twin = twin_of(model, make(maker, torch.float32)[0], use_rslora=scaling != "alpha/r").eval()
    for layer, A, B in pairs_of(model, twin):
        assert torch.allclose(layer.lora_A, A.T, atol=1e-6) and torch.allclose(layer.lora_B, B.T, atol=1e-6)
    assert close(model(**batch).logits, plain, torch.float32)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer, A, B in pairs_of(model, twin):  # as if trained
            for ours, theirs in ((layer.lora_A, A), (layer.lora_B, B)):
                ours += 0.1 * torch.randn(ours.shape, generator=generator)
                theirs.copy_(ours.T)
    ours, theirs = model(**batch), twin(**batch)
    assert not close(ours.logits, plain, torch.float32)
    assert close(ours.logits, theirs.logits, torch.float32)
    ours.loss.backward()
    theirs.loss.backward()
    for layer, A, B in pairs_of(model, twin):
        assert close(layer.lora_A.grad.T, A.grad, torch.float32)
        assert close(layer.lora_B.grad.T, B.grad, torch.float32)


def test_dropout_acts_where_pefts_does():
    model = LoRAModel(fixed(nn.Sequential(nn.Linear(6, 4))), init="pissa", alpha=6, dropout=0.4)
    twin = twin_of(model, fixed(nn.Sequential(nn.Linear(6, 4))), lora_dropout=0.4)
    x, outputs = numbers(7, 6), []
    for one in (model.train(), twin.train()):
        torch.manual_seed(0)
        outputs.append(one(x))
        outputs[-1].square().sum().backward()
    assert close(*outputs, torch.float32)
    for layer, A, B in pairs_of(model, twin):
        assert close(layer.lora_A.grad.T, A.grad, torch.float32) and close(layer.lora_B.grad.T, B.grad, torch.float32)
    assert torch.allclose(model.eval()(x), fixed(nn.Sequential(nn.Linear(6, 4)))(x), atol=1e-5)


def test_the_start_is_the_best_approximation_of_the_rank():
    base = mlp(torch.float64)
    model = LoRAModel(base, init="pissa", rank=3, alpha=5)
    layer, weight = model.lora_layers["0"], base[0].weight
    principal = layer.scaling * (layer.lora_A @ layer.lora_B).T
    rest = torch.linalg.svdvals(weight - principal)
    assert torch.allclose(rest[:3], torch.linalg.svdvals(weight)[3:], atol=1e-12) and rest[3:].max() < 1e-12
    assert torch.allclose(layer.lora_A.norm(dim=0), layer.lora_B.norm(dim=1), atol=1e-12)  # √S to each


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_the_base_is_untouched_and_the_start_equal_to_rounding(dtype):
    base, x = mlp(dtype), numbers(5, 6, dtype=dtype)
    before, plain = bits(base), base(x)
    model = LoRAModel(base, init="pissa")
    assert model.lora_layers["0"].is_zero() and model.lora_layers["0"].lora_B.any()
    limit = {torch.float64: 1e-14, torch.float32: 1e-5}.get(dtype, 0.05)
    assert (model(x) - plain).abs().max() <= limit * plain.abs().max()
    trained(model) if dtype == torch.float32 else filled(model)
    with model.disabled():
        assert torch.equal(model(x), plain)
    assert same_bits(before, bits(model.remove()))


def test_merged_equals_unmerged_after_training():
    model, x = trained(LoRAModel(mlp(), init="pissa", alpha=6)), numbers(5, 6)
    before, output = bits(model.base_model), model(x)
    assert not torch.allclose(output, mlp()(x), atol=0.01)
    with model.merged():
        assert (model(x) - output).abs().max() <= 1e-5 * output.abs().max()
    assert same_bits(before, bits(model.base_model)) and torch.equal(model(x), output)
    merged = copy.deepcopy(model).remove(merge=True)
    assert (merged(x) - output).abs().max() <= 1e-5 * output.abs().max()


def test_it_mixes_as_plain_lora_does():
    model, x = trained(LoRAModel(mlp(), init="pissa")), numbers(5, 6)
    model.add_adapter("b", rank=2)
    filled(model)
    model.set_adapter({"default": 0.5, "b": 2})
    weights = {
        name: module.weight.clone() for name, module in model.base_model.named_modules() if name in "02" and name
    }
    for name, weight in weights.items():
        weight += 0.5 * model.adapters["default"][name].delta_weight() + 2 * model.adapters["b"][name].delta_weight()
    hidden = nn.functional.linear(x, weights["0"], model.base_model[0].bias).relu()
    assert torch.allclose(model(x), nn.functional.linear(hidden, weights["2"], model.base_model[2].bias), atol=1e-4)


@pytest.mark.parametrize("scaling", ["alpha/r", "alpha/sqrt(r)"])
def test_the_file_is_what_pefts_conversion_writes_and_both_read_both(tmp_path, scaling):
    model, x = LoRAModel(mlp(), init="pissa", rank=2, alpha=6, scaling=scaling), numbers(5, 6)
    twin = twin_of(model, mlp(), rank=2, use_rslora=scaling != "alpha/r")
    twin.save_pretrained(tmp_path / "start")
    trained(model)
    with torch.no_grad():
        for layer, A, B in pairs_of(model, twin):
            A.copy_(layer.lora_A.T)
            B.copy_(layer.lora_B.T)
    model.save_adapter(tmp_path / "ours")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin.save_pretrained(tmp_path / "theirs", path_initial_model_for_weight_conversion=tmp_path / "start")
        read = peft.PeftModel.from_pretrained(mlp(), tmp_path / "ours").eval()
    ours, theirs = (load_file(tmp_path / name / WEIGHTS) for name in ("ours", "theirs"))
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[key], theirs[key], atol=1e-6) for key in ours)
    assert close(read(x), model(x), torch.float32)
    again = LoRAModel.from_pretrained(mlp(), tmp_path / "ours")
    assert torch.equal(again(x), model(x))
    assert (again.configs["default"].variant, again.configs["default"].rank) == ("pissa", 2)
    assert again.configs["default"].alpha == pytest.approx(6)
    plain = LoRAModel.from_pretrained(mlp(), tmp_path / "theirs")
    assert (plain.configs["default"].variant, plain.configs["default"].rank) == ("lora", 4)
    assert close(plain(x), model(x), torch.float32)


def test_a_read_file_trains_on_as_pissa(tmp_path):
    model = trained(LoRAModel(mlp(), init="pissa", rank_pattern={"2": 2}, learnable_scaling=True))
    model.save_adapter(tmp_path)
    again = LoRAModel.from_pretrained(mlp(), tmp_path)
    assert same_bits(bits(model), bits(again))
    trained(model)
    trained(again)
    assert same_bits(bits(model), bits(again))
    assert [name.rpartition(".")[2] for name, p in again.named_parameters() if p.requires_grad] == (
        ["lora_A", "lora_B", "scaling"] * 2
    )


def test_reading_takes_no_singular_values(tmp_path, monkeypatch):
    trained(LoRAModel(mlp(), init="pissa")).save_adapter(tmp_path)
    monkeypatch.setattr(torch.linalg, "svd", None)
    model = LoRAModel.from_pretrained(mlp(), tmp_path)
    model.load_adapter(tmp_path, "twice")
    monkeypatch.undo()
    model.adapters["twice"]["0"].reset_parameters()  # starts from the weight again
    assert model.adapters["twice"]["0"].is_zero()


def test_xray_and_lint_find_a_pefts_file_of_twice_the_rank(tmp_path):
    model = trained(LoRAModel(mlp(), init="pissa", rank=2, alpha=6))
    model.save_adapter(tmp_path)
    assert lint(tmp_path) == []
    seen = xray(tmp_path, mlp())
    assert (seen.variant, {layer.rank for layer in seen.layers}) == ("pissa", {4})
    delta = model.lora_layers["0"].delta_weight()
    assert seen.layers[0].norm == pytest.approx(delta.norm().item(), rel=1e-4)
    assert str(seen).startswith("PiSSA adapter in") and "twice the rank" in str(seen)


def test_counting_counts_what_trains_and_no_start():
    model = LoRAModel(mlp(), init="pissa", rank=2)
    plain = LoRAModel(mlp(), rank=2)
    assert model.count() == plain.count()


def test_an_odd_rank_in_a_file_that_is_marked_is_refused(tmp_path):
    LoRAModel(mlp(), rank=3).save_adapter(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    save_file(tensors, tmp_path / WEIGHTS, {"format": "pt", "lora_teach.variant": "pissa"})
    with pytest.raises(ValueError, match="marked as PiSSA.*odd"):
        LoRAModel.from_pretrained(mlp(), tmp_path)


@pytest.mark.parametrize("options", [{"variant": "pissa"}, {"init": "pissa"}, {"variant": "pissa", "init": "pissa"}])
def test_both_names_mean_the_same(options):
    assert LoRAConfig(**options) == LoRAConfig(init="pissa")
    assert isinstance(LoRAModel(mlp(), **options).lora_layers["0"], PiSSALayer)


REFUSED = {
    "another start": (dict(variant="pissa", init="randn"), "variant='pissa' and init='randn' don't go together"),
    "dora": (dict(variant="dora", init="pissa"), "variant='dora' and init='pissa' don't go together"),
    "alpha 0": (dict(init="pissa", alpha=0), "0: the scaling is 0, and PiSSA divides.*alpha above 0"),
    "alpha below 0": (dict(init="pissa", alpha=-1), "the scaling is -0.25"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_can_not_be_is_refused_and_nothing_changes(why):
    options, message = REFUSED[why]
    base = mlp()
    before = picture(base)
    with pytest.raises(ValueError, match=message):
        LoRAModel(base, **options)
    assert same_picture(before, picture(base))


def test_a_weight_without_singular_values_is_refused():
    base = mlp()
    with torch.no_grad():
        base[0].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="0: its weight has no singular values.*afresh"):
        LoRAModel(base, init="pissa")
    base[0].weight = nn.Parameter(base[0].weight.nan_to_num().to(torch.int8), requires_grad=False)
    with pytest.raises(ValueError, match="quantised.*PiSSA reads its numbers"):
        LoRAModel(base, init="pissa")


def test_a_layer_of_its_own_starts_as_plain_lora():
    layer, x = PiSSALayer(6, 4), numbers(3, 6)
    assert not layer(x).any()
    layer.attach(fixed(nn.Linear(6, 4)))
    assert layer.lora_B.any() and torch.allclose(layer(x), torch.zeros(3, 4), atol=1e-6)
    with pytest.raises(ValueError, match="init='randn'.*Leave init out"):
        PiSSALayer(6, 4, init="randn")
