"""DoRA: equal to PEFT's in output and gradients, exact to merge and to switch off, active alone."""

import copy
import io
import warnings

from lora_teach import LoRAModel, train
from lora_teach.layers.dora import DoRALayer
from tests.test_architectures import close, gpt2, llama, make
from tests.toy import TinyGPT, bits, filled, fixed, mlp, numbers, picture, same_bits, same_picture, tokens

import pytest
import torch
from torch import nn

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def dora(base, **options):
    """a DoRA model with filled factors, and magnitudes that are a little off the norms."""
    model = LoRAModel(base, variant="dora", **options)
    norms = [layer.magnitude.detach().clone() for layer in model.lora_layers.values()]
    filled(model)
    with torch.no_grad():
        for layer, norm in zip(model.lora_layers.values(), norms, strict=True):
            layer.magnitude.mul_(0.3).add_(norm)
    return model


def adapted_weight(model, name):
    """The weight that the paper's equation 5 gives, written out in the open: (out_features, in_features)."""
    layer, weight = model.lora_layers[name], model.base_model.get_submodule(name).weight
    turned = weight + layer.scaling * (layer.lora_A @ layer.lora_B).T
    rows = [m * row / (row @ row).sqrt() for m, row in zip(layer.magnitude, turned, strict=True)]
    return torch.stack(rows)


def twin_of(model, base, **options):
    """PEFT's DoRA over an equal base, with the same numbers copied into it."""
    config = peft.LoraConfig(r=4, lora_alpha=6, use_dora=True, target_modules=list(model.lora_layers), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin = peft.get_peft_model(base, config, autocast_adapter_dtype=False)
    with torch.no_grad():
        for name, layer in model.lora_layers.items():
            theirs = twin.base_model.model.get_submodule(name)
            theirs.lora_A["default"].weight.copy_(layer.lora_A.T)
            theirs.lora_B["default"].weight.copy_(layer.lora_B.T)
            theirs.lora_magnitude_vector["default"].weight.copy_(layer.magnitude)
    return twin


def gradients_agree(model, twin, dtype):
    for name, layer in model.lora_layers.items():
        theirs = twin.base_model.model.get_submodule(name)
        assert close(layer.lora_A.grad.T, theirs.lora_A["default"].weight.grad, dtype)
        assert close(layer.lora_B.grad.T, theirs.lora_B["default"].weight.grad, dtype)
        assert close(layer.magnitude.grad, theirs.lora_magnitude_vector["default"].weight.grad, dtype)
        assert layer.magnitude.grad.abs().sum() > 0
    return True


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("scaling", ["alpha/r", "alpha/sqrt(r)"])
@pytest.mark.parametrize("maker", [llama, gpt2], ids=lambda maker: maker.__name__)  # Linear and Conv1D
def test_outputs_and_gradients_equal_pefts(maker, scaling, dtype):
    base, batch = make(maker, dtype)
    model = dora(base, alpha=6, scaling=scaling)
    twin = twin_of(model, make(maker, dtype)[0], use_rslora=scaling != "alpha/r").eval()
    ours, theirs = model(**batch), twin(**batch)
    assert close(ours.logits, theirs.logits, dtype)
    ours.loss.backward()
    theirs.loss.backward()
    assert gradients_agree(model, twin, dtype)
    assert all(p.grad is None for p in base.parameters())


@pytest.mark.parametrize("bias", [True, False])
def test_dropout_acts_where_pefts_does(bias):
    model = dora(fixed(nn.Sequential(nn.Linear(6, 4, bias=bias)).double()), alpha=6, dropout=0.4)
    twin = twin_of(model, fixed(nn.Sequential(nn.Linear(6, 4, bias=bias)).double()), lora_dropout=0.4)
    x, outputs = numbers(7, 6, dtype=torch.float64), []
    for one in (model.train(), twin.train()):
        torch.manual_seed(0)
        outputs.append(one(x))
        outputs[-1].square().sum().backward()
    assert close(*outputs, torch.float64)
    assert gradients_agree(model, twin, torch.float64)
    assert not torch.allclose(model(x), model.eval()(x))
    assert torch.allclose(model(x), twin.eval()(x), atol=1e-12)


def test_the_output_is_that_of_the_papers_weight():
    model, x = dora(mlp(torch.float64), alpha=6), numbers(5, 6, dtype=torch.float64)
    hidden = nn.functional.linear(x, adapted_weight(model, "0"), model.base_model[0].bias).relu()
    expected = nn.functional.linear(hidden, adapted_weight(model, "2"), model.base_model[2].bias)
    assert torch.allclose(model(x), expected, atol=1e-12)
    layer, weight = model.lora_layers["0"], model.base_model[0].weight
    assert torch.allclose(weight + layer.delta_weight(), adapted_weight(model, "0"), atol=1e-12)
    assert torch.allclose(layer(x), x @ layer.delta_weight().T, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_new_dora_layer_changes_no_bit(dtype):
    x = numbers(5, 6, dtype=dtype)
    model = LoRAModel(mlp(dtype), variant="dora")
    assert torch.equal(model(x), mlp(dtype)(x))
    assert torch.equal(
        model.lora_layers["2"].magnitude, mlp(dtype)[2].weight.to(torch.promote_types(dtype, torch.float32)).norm(dim=1)
    )
    filled(model)
    for layer in model.lora_layers.values():
        layer.reset_parameters()
    assert torch.equal(model(x), mlp(dtype)(x))


def test_a_new_dora_layer_that_is_moved_to_another_dtype_changes_little():
    model, x = LoRAModel(mlp(), variant="dora").to(torch.float64), numbers(5, 6, dtype=torch.float64)
    assert torch.allclose(model(x), mlp().to(torch.float64)(x), atol=1e-6)


def test_the_norm_is_a_constant_to_the_gradient():
    model, x = dora(nn.Sequential(fixed(nn.Linear(6, 4)).double())), numbers(5, 6, dtype=torch.float64)
    model(x).sum().backward()
    layer, weight = model.lora_layers["0"], model.base_model[0].weight
    turned = weight + layer.scaling * (layer.lora_A @ layer.lora_B).T
    gain = (layer.magnitude / turned.norm(dim=1)).detach()
    hidden = x @ layer.lora_A
    assert torch.allclose(layer.lora_B.grad, layer.scaling * hidden.sum(0)[:, None] * gain, atol=1e-12)


def test_a_row_of_zeros_stays_zero_and_finite():
    base = fixed(nn.Sequential(nn.Linear(6, 4)))
    with torch.no_grad():
        base[0].weight[1] = 0
    x, expected = numbers(5, 6), base(numbers(5, 6))
    model = LoRAModel(base, variant="dora")
    assert torch.equal(model(x), expected)
    filled(model)
    assert model(x).isfinite().all()
    model(x).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.trainable_parameters())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_merged_equals_unmerged_and_everything_can_be_undone_to_the_last_bit(dtype):
    model, x = dora(mlp(dtype), alpha=6), numbers(5, 6, dtype=dtype)
    before, output = bits(model.base_model), model(x)
    limit = {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 0.02)
    delta = model.lora_layers["0"].delta_weight()
    with model.merged():
        assert (model(x) - output).abs().max() <= limit * output.abs().max()
        assert not torch.allclose(
            model.lora_layers["0"].delta_weight(), delta, atol=1e-3
        )  # the base's weight has it now
        model.merge()
    assert same_bits(before, bits(model.base_model))
    assert torch.equal(model(x), output)
    with model.disabled():
        assert torch.equal(model(x), mlp(dtype)(x))
    merged = copy.deepcopy(model).remove(merge=True)
    assert (merged(x) - output).abs().max() <= limit * output.abs().max()
    assert same_bits(before, bits(model.remove()))


def test_gpt2s_conv1d_is_merged_in_its_own_orientation():
    base, batch = make(gpt2)
    model = dora(base, alpha=6)
    output = model(**batch).logits
    with torch.no_grad(), model.merged():
        assert close(model(**batch).logits, output, torch.float64)


def test_mixing_is_an_error_and_changes_nothing():
    model = dora(mlp())
    model.add_adapter("b", rank=2)
    before = picture(model)
    for mixture in ({"default": 0.5}, {"default": 1.0, "b": 1.0}, {"b": 1.0, "default": 0.0}):
        with pytest.raises(ValueError, match="'default' has its own 0, 2, which cannot be mixed. Activate it alone"):
            model.set_adapter(mixture)
    assert same_picture(before, picture(model))
    model.set_adapter({"b": 0.5})
    model.set_adapter({"default": 1})


@pytest.mark.parametrize("learnable", [False, True])
def test_training_moves_the_factors_and_the_magnitude_and_nothing_else(learnable):
    model = LoRAModel(TinyGPT(tied=False), variant="dora", learnable_scaling=learnable)
    before = bits(model)
    batches = [(tokens(), tokens(seed=5).flatten())]
    history = train(
        model,
        batches,
        lambda out, y: nn.functional.cross_entropy(out.flatten(0, 1), y),
        lr=1e-2,
        steps=8,
        progress=False,
    )
    assert history.loss[-1] < history.loss[0]
    moved = {name for name, value in bits(model).items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith("adapters.")}
    assert any(name.endswith("magnitude") for name in moved)
    assert any(name.endswith("scaling") for name in moved) is learnable


def test_a_learnable_scaling_has_the_gradient_of_the_formula_with_the_norm_held():
    model, x = (
        dora(nn.Sequential(fixed(nn.Linear(6, 4)).double()), learnable_scaling=True),
        numbers(5, 6, dtype=torch.float64),
    )
    layer, weight = model.lora_layers["0"], model.base_model[0].weight
    model(x).sum().backward()
    product = (layer.lora_A @ layer.lora_B).T
    gain = layer.magnitude / (weight + layer.scaling * product).norm(dim=1)
    assert layer.scaling.grad.item() == pytest.approx(((x @ product.T) * gain).sum().item(), rel=1e-12)


def test_set_alpha_turns_further_and_keeps_the_magnitude():
    model = dora(mlp(torch.float64))
    model.set_alpha(11)
    for name, layer in model.lora_layers.items():
        weight = model.base_model.get_submodule(name).weight + layer.delta_weight()
        assert torch.allclose(weight.norm(dim=1), layer.magnitude.abs(), atol=1e-12)


@pytest.mark.parametrize("shape", [(6,), (0, 6), (2, 3, 6), (2, 3, 5, 6)], ids=str)
def test_inputs_of_any_shape(shape):
    model = dora(fixed(nn.Sequential(nn.Linear(6, 4))))
    x = numbers(*shape)
    expected = nn.functional.linear(x, adapted_weight(model, "0"), model.base_model[0].bias)
    assert torch.allclose(model(x), expected, atol=1e-5)
    model(x).sum().backward()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_padding_masks_through_a_transformer_encoder():
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    base, x = fixed(nn.TransformerEncoder(layer, 2)).eval(), numbers(3, 5, 16)
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[0, 3:] = True
    model = dora(base)
    dense = model(x, src_key_padding_mask=padding)
    with torch.no_grad():
        packed = model(x, src_key_padding_mask=padding)
    assert torch.allclose(packed[~padding], dense[~padding], atol=1e-5)


def test_sparse_inputs():
    model, x = dora(fixed(nn.Linear(6, 4))), numbers(3, 6).relu()
    assert torch.allclose(model(x.to_sparse()), model(x), atol=1e-6)


def test_autocast_and_half_precision_keep_the_dtype():
    model, x = dora(mlp()), numbers(5, 6)
    exact = model(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(x)
    assert output.dtype == torch.bfloat16
    assert torch.allclose(output.float(), exact, atol=0.1)
    output.float().sum().backward()
    half = dora(mlp(torch.bfloat16))
    assert {p.dtype for p in half.lora_layers.parameters()} == {torch.float32}
    assert half(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_compiled_model_follows():
    torch._dynamo.reset()
    model, x = dora(mlp()), numbers(3, 6)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(x), model(x), atol=1e-6)
    with torch.no_grad():
        model.lora_layers["2"].magnitude.mul_(2)
    assert torch.allclose(compiled(x), model(x), atol=1e-6)
    torch._dynamo.reset()


def test_a_deep_copy_turns_its_own_weights():
    model, x = dora(mlp()), numbers(3, 6)
    twin, output = copy.deepcopy(model), model(x)
    with torch.no_grad():
        for parameter in twin.base_model.parameters():
            parameter.add_(1)
    assert torch.equal(model(x), output)
    assert twin.lora_layers["0"]._beside[0] is twin.base_model[0]
    assert "base_model" not in str(dict(twin.lora_layers.named_parameters()))
    assert [key.rpartition(".")[2] for key in twin.lora_layers.state_dict()] == ["lora_A", "lora_B", "magnitude"] * 2


def test_other_weights_in_a_functional_call_are_turned_too():
    model, x = dora(mlp()), numbers(3, 6)
    other = {
        name: value * 1.5 if name.startswith("base_model.") else value for name, value in model.state_dict().items()
    }
    output = torch.func.functional_call(model, other, (x,))
    with torch.no_grad():
        for parameter in model.base_model.parameters():
            parameter.mul_(1.5)
    assert torch.allclose(output, model(x), atol=1e-6)


def test_a_model_saved_whole_turns_the_weights_that_it_was_saved_with():
    model, x, file = dora(mlp()), numbers(3, 6), io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert torch.equal(again(x), model(x))
    assert again.lora_layers["0"]._beside[0] is again.base_model[0]


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for saving in (False, True):
        base, batch = make(llama)
        model = dora(base).train()
        if saving:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model(**batch, use_cache=False).loss.backward()
        gradients.append([p.grad for p in model.lora_layers.parameters()])
    assert all(torch.allclose(left, right, atol=1e-12) for left, right in zip(*gradients, strict=True))


def test_gpt2s_file_goes_to_peft_and_back(tmp_path):
    base, batch = make(gpt2)
    model = dora(base, alpha=6)
    model.save_adapter(tmp_path / "ours")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin = peft.PeftModel.from_pretrained(make(gpt2)[0], tmp_path / "ours", autocast_adapter_dtype=False).eval()
        assert close(twin(**batch).logits, model(**batch).logits, torch.float64)
        twin.save_pretrained(tmp_path / "theirs")
    for folder in ("ours", "theirs"):
        again = LoRAModel.from_pretrained(make(gpt2)[0], tmp_path / folder)
        assert close(again(**batch).logits, model(**batch).logits, torch.float64)


class Int8Linear(nn.Linear):
    def __init__(self, linear):
        super().__init__(linear.in_features, linear.out_features)
        self.weight = nn.Parameter(linear.weight.round().to(torch.int8), requires_grad=False)


def test_a_quantised_weight_is_refused_and_nothing_changes():
    base = mlp()
    base[2] = Int8Linear(base[2])
    before = picture(base)
    with pytest.raises(ValueError, match="2: its weight is quantised.*int8.*variant='lora'"):
        LoRAModel(base, variant="dora")
    assert same_picture(before, picture(base))


def test_a_layer_beside_nothing_says_what_it_needs():
    layer = DoRALayer(6, 4)
    for use in (lambda: layer(numbers(3, 6)), layer.delta_weight):
        with pytest.raises(RuntimeError, match=r"beside no layer.*attach\(linear\)"):
            use()
    layer.attach(fixed(nn.Linear(6, 4)))
    assert not layer(numbers(3, 6)).any()
