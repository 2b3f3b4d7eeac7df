"""Embeddings and convolutions: equal to PEFT's, exact to switch off and to merge, asked for by name only."""

import copy
import re
import warnings

from lora_teach import LoRALayer, LoRAModel, train
from lora_teach.layers.conv2d import LoRAConv2d
from lora_teach.layers.embedding import LoRAEmbedding
from lora_teach.peft_format.xray import lint, xray
from tests.test_architectures import close, llama, make
from tests.toy import TinyGPT, bits, filled, fixed, numbers, picture, same_bits, same_picture, tokens

import pytest
import torch
from torch import nn

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


class Scaled(nn.Embedding):
    """An embedding that multiplies its rows, as Gemma's does."""

    embed_scale = 3.0

    def forward(self, input):
        return super().forward(input) * self.embed_scale


class Pictures(nn.Module):
    """Two convolutions and a linear layer; ``options`` are the first one's."""

    def __init__(self, **options):
        super().__init__()
        self.conv = nn.Conv2d(4, 6, **{"kernel_size": 3, **options})
        self.last = nn.Conv2d(6, 5, 1)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        return self.head(self.last(self.conv(x).relu()).amax((-1, -2)))


class Words(nn.Module):
    def __init__(self, table=nn.Embedding, **options):
        super().__init__()
        self.embedding = table(11, 8, **options)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.embedding(x))


def image(dtype=torch.float64, batch=(2,)):
    return numbers(*batch, 4, 9, 8, dtype=dtype)


# What is adapted, how to make the base, and its input.
CASES = {
    "embedding": (["embedding"], Words, tokens),
    "embedding_padding": (["embedding"], lambda: Words(padding_idx=2), tokens),
    "embedding_by_frequency": (["embedding"], lambda: Words(scale_grad_by_freq=True), tokens),
    "embedding_scaled": (["embedding"], lambda: Words(Scaled), tokens),
    "embedding_and_linear": (["embedding", "head"], Words, tokens),
    "conv": (["conv"], Pictures, image),
    "conv_1x1": (["last"], Pictures, image),
    "conv_all": (r"conv|last|head", lambda: Pictures(bias=False), image),
    "conv_strides": (["conv"], lambda: Pictures(stride=2, padding=1), image),
    "conv_oblong": (["conv"], lambda: Pictures(kernel_size=(3, 1), stride=(2, 1), padding=(0, 2)), image),
    "conv_same": (["conv"], lambda: Pictures(padding="same"), image),
    "conv_groups": (["conv"], lambda: Pictures(groups=2), image),
    "conv_1x1_dilated": (["conv"], lambda: Pictures(kernel_size=1, dilation=3), image),
}
MERGED = [name for name in CASES if name != "conv_groups"]


@pytest.fixture(params=CASES)
def case(request):
    return request.param


def made(case, dtype=torch.float64, **options):
    wanted, maker, given = CASES[case]
    x = given()
    model = LoRAModel(plain(case, dtype), target_modules=wanted, **{"alpha": 6, **options})
    filled(model).set_alpha(model.configs["default"].alpha)
    return model, x.to(dtype) if x.is_floating_point() else x


def plain(case, dtype=torch.float64):
    return fixed(CASES[case][1]()).to(dtype).eval()


def twin_of(model, case, **options):
    """PEFT over an equal base, with the same factors copied into it."""
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=CASES[case][0], **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin = peft.get_peft_model(plain(case), config, autocast_adapter_dtype=False).eval()
    with torch.no_grad():
        for name, layer in model.lora_layers.items():
            for theirs, ours in theirs_and_ours(twin, name, layer):
                theirs.copy_(ours)
    return twin


def theirs_and_ours(twin, name, layer, of=lambda parameter: parameter):
    theirs = twin.base_model.model.get_submodule(name)
    if isinstance(layer, LoRAEmbedding):
        theirs = theirs.lora_embedding_A["default"], theirs.lora_embedding_B["default"]
    else:
        theirs = theirs.lora_A["default"].weight, theirs.lora_B["default"].weight
    ours = of(layer.lora_A).T, of(layer.lora_B).T
    return [(of(one), mine.reshape(one.shape)) for one, mine in zip(theirs, ours, strict=True)]


@pytest.mark.parametrize("learnable", [False, True])
def test_outputs_and_gradients_equal_pefts(case, learnable):
    model, x = made(case, learnable_scaling=learnable)
    twin = twin_of(model, case)
    assert close(model(x), twin(x), torch.float64)
    assert not torch.allclose(model(x), plain(case)(x), atol=1e-3)
    for one in (model, twin):
        one(x).square().sum().backward()
    for name, layer in model.lora_layers.items():
        for theirs, ours in theirs_and_ours(twin, name, layer, of=lambda parameter: parameter.grad):
            assert close(ours, theirs, torch.float64)
            assert theirs.abs().sum() > 0
        assert not learnable or layer.scaling.grad.abs() > 0
    assert all(p.grad is None for p in model.base_model.parameters())


def test_dropout_acts_where_pefts_does(case):
    model, x = made(case, dropout=0.4)
    twin, outputs = twin_of(model, case, lora_dropout=0.4), []
    for one in (model.train(), twin.train()):
        torch.manual_seed(0)
        outputs.append(one(x))
    assert close(*outputs, torch.float64)
    only_embedding = CASES[case][0] == ["embedding"]
    assert torch.equal(outputs[0], model.eval()(x)) is only_embedding


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_new_adapter_and_one_that_is_off_change_no_bit(case, dtype):
    model, x = made(case, dtype)
    expected = plain(case, dtype).requires_grad_(False)(x)
    assert torch.equal(LoRAModel(plain(case, dtype), target_modules=CASES[case][0])(x), expected)
    assert model(x).dtype == dtype
    with model.disabled():
        assert torch.equal(model(x), expected)
    assert {p.dtype for p in model.lora_layers.parameters()} == {torch.promote_types(dtype, torch.float32)}
    before = bits(plain(case, dtype))
    assert same_bits(before, bits(model.remove()))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", MERGED)
def test_merged_equals_unmerged_and_unmerging_restores_the_last_bit(case, dtype):
    model, x = made(case, dtype)
    before, output = bits(model.base_model), model(x)
    limit = {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 0.05)
    with model.merged():
        assert (model(x) - output).abs().max() <= limit * output.abs().max()
    assert same_bits(before, bits(model.base_model))
    assert torch.equal(model(x), output)
    if dtype == torch.float64:
        twin = twin_of(model, case).merge_and_unload()
        assert close(copy.deepcopy(model).remove(merge=True)(x), twin(x), dtype)


def test_a_convolution_with_groups_is_not_merged_into():
    model, x = made("conv_groups")
    before, output = picture(model), model(x)
    for merge in (model.merge, lambda: model.remove(merge=True)):
        with pytest.raises(ValueError, match="conv: its weight has groups=2.*across the groups. Keep the adapter"):
            merge()
    with pytest.raises(ValueError, match="groups=2 reaches across"):
        model.lora_layers["conv"].delta_weight()
    assert same_picture(before, picture(model))
    assert torch.equal(model(x), output)


def test_mixing_adds_the_weighted_updates(case):
    model, x = made(case)
    name = next(iter(model.lora_layers))
    base_module = model.base_model.get_submodule(name)
    model.add_adapter("b", rank=2, target_modules=[name])
    filled(model)
    inputs, outputs = [], []

    def note(module, args, output):
        inputs.append(args[0]), outputs.append(output)

    base_module.register_forward_hook(note)
    with model.disabled():
        model(x)
    model.set_adapter({"default": 0.7, "b": -0.4})
    model(x)
    update = 0.7 * model.adapters["default"][name](inputs[0]) - 0.4 * model.adapters["b"][name](inputs[0])
    assert torch.allclose(outputs[1], outputs[0] + update, atol=1e-12)


def test_only_adapters_move_in_training(case):
    model, x = made(case, torch.float32)
    before = bits(model)
    batches = [(x, torch.zeros(()))]
    history = train(model, batches, lambda out, _: out.square().mean(), lr=1e-2, steps=5, progress=False)
    assert history.loss[-1] < history.loss[0]
    moved = {name for name, value in bits(model).items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith("adapters.")}


def test_the_file_goes_to_peft_and_back_and_is_equal_to_the_last_bit(case, tmp_path):
    model, x = made(case)
    output = model(x)
    model.save_adapter(tmp_path / "ours")
    assert lint(tmp_path / "ours") == []
    again = LoRAModel.from_pretrained(plain(case), tmp_path / "ours")
    assert same_bits(bits(model), bits(again))
    assert torch.equal(again(x), output)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin = peft.PeftModel.from_pretrained(plain(case), tmp_path / "ours", autocast_adapter_dtype=False).eval()
        assert close(twin(x), output, torch.float64)
        twin.save_pretrained(tmp_path / "theirs")
    assert lint(tmp_path / "theirs") == []
    assert close(LoRAModel.from_pretrained(plain(case), tmp_path / "theirs")(x), output, torch.float64)


def test_a_language_models_embedding_goes_to_peft_and_back(tmp_path):
    base, batch = make(llama)  # PEFT adds the whole table to its file where it is called embed_tokens
    model = filled(LoRAModel(base, alpha=6, target_modules=["embed_tokens", "q_proj"]))
    model.save_adapter(tmp_path / "ours")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin = peft.PeftModel.from_pretrained(make(llama)[0], tmp_path / "ours", autocast_adapter_dtype=False).eval()
        assert close(twin(**batch).logits, model(**batch).logits, torch.float64)
        twin.save_pretrained(tmp_path / "theirs")
    again = LoRAModel.from_pretrained(make(llama)[0], tmp_path / "theirs")
    assert close(again(**batch).logits, model(**batch).logits, torch.float64)
    [departure] = lint(tmp_path / "theirs")
    assert "1 tensors are the base's own" in departure.what


@pytest.mark.parametrize("case", MERGED)
def test_the_x_ray_sees_the_full_update(case, tmp_path):
    model, _ = made(case)
    model.save_adapter(tmp_path)
    for layer in xray(tmp_path, model).layers:
        update = model.lora_layers[layer.name].delta_weight().flatten(1)
        assert layer.norm == pytest.approx(update.norm().item(), rel=1e-12)
        assert layer.singular_values == pytest.approx(torch.linalg.svdvals(update)[: layer.rank].tolist(), abs=1e-12)


def test_the_x_ray_of_a_grouped_convolution_is_that_of_the_dense_update(tmp_path):
    model, _ = made("conv_groups")
    model.save_adapter(tmp_path)
    [layer] = xray(tmp_path).layers
    A, B = model.lora_layers["conv"].kernels()
    dense = torch.block_diag(*B.flatten(1).chunk(2)) @ A.flatten(1) * model.lora_layers["conv"].scaling
    assert layer.singular_values == pytest.approx(torch.linalg.svdvals(dense)[:4].tolist(), abs=1e-12)


# What is chosen, and what is refused.


def test_without_names_only_linear_layers_are_adapted():
    assert list(LoRAModel(Pictures(), rank=2).lora_layers) == ["head"]
    assert list(LoRAModel(Words(), rank=2).lora_layers) == ["head"]


def test_the_layer_fits_the_module():
    assert isinstance(made("embedding")[0].lora_layers["embedding"], LoRAEmbedding)
    assert isinstance(made("conv")[0].lora_layers["conv"], LoRAConv2d)
    mixed = made("embedding_and_linear")[0].lora_layers
    assert [type(layer) for layer in mixed.values()] == [LoRAEmbedding, LoRALayer]


class Positions(nn.Embedding):
    def forward(self, input):
        return super().forward(torch.arange(input.shape[-1]))


REFUSED = {
    "tied": (lambda: TinyGPT(), {"target_modules": ["embedding"]}, "tied to 'head'.*untie it first"),
    "max_norm": (lambda: Words(max_norm=1.0), {"target_modules": ["embedding"]}, "max_norm=1.0.*rewrite.*Leave it out"),
    "positions": (lambda: Words(Positions), {"target_modules": ["embedding"]}, "Positions has a forward of its own"),
    "rank": (Words, {"target_modules": ["embedding"], "rank": 9}, r"Embedding\(11 → 8\).*Use 1..8"),
    "conv_rank": (Pictures, {"target_modules": ["conv"], "rank": 7}, r"Conv2d\(36 → 6\).*Use 1..6"),
    "conv_patch": (lambda: nn.Sequential(nn.Conv2d(1, 9, 2)), {"target_modules": ["0"], "rank": 5},
                   r"Conv2d\(4 → 9\).*Use 1..4"),
    "groups": (lambda: Pictures(groups=2), {"target_modules": ["conv"], "rank": 3}, "rank=3.*2 groups.*multiple of 2"),
    "dilation": (lambda: Pictures(dilation=2), {"target_modules": ["conv"]}, r"dilation=\(2, 2\).*modules_to_save"),
    "padding_mode": (lambda: Pictures(padding=1, padding_mode="circular"), {"target_modules": ["conv"]},
                     "padding_mode='circular'.*pads with zeros"),
    "pissa": (Words, {"target_modules": ["embedding"], "variant": "pissa"}, "variant='pissa' is for linear layers"),
    "pissa_conv": (Pictures, {"target_modules": ["conv"], "variant": "pissa"}, "variant='pissa' is for linear layers"),
    "conv3d": (lambda: nn.Sequential(nn.Conv3d(1, 9, 2)), {"target_modules": ["0"]}, "Conv3d is no linear layer"),
}  # fmt: skip


@pytest.mark.parametrize(("maker", "options", "words"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_and_nothing_changes(maker, options, words):
    base = maker()
    before = picture(base)
    with pytest.raises(ValueError, match=f"target_modules asks for.*{words}"):
        LoRAModel(base, **options)
    assert same_picture(before, picture(base))


def test_peft_leaves_the_dilation_out():
    # The reason why it is refused here: with padding="same" PEFT's update sees other pixels than the layer does.
    base = fixed(Pictures(dilation=2, padding="same")).double()
    twin = peft.get_peft_model(base, peft.LoraConfig(r=4, target_modules=["conv"], init_lora_weights=False)).eval()
    output = twin(image())
    assert not torch.allclose(twin.merge_and_unload()(image()), output, atol=1e-3)


def test_a_circular_1x1_convolution_pads_nothing_and_is_adapted():
    LoRAModel(Pictures(kernel_size=1, padding_mode="circular"), target_modules=["conv"])


# The layers alone.


def filled_layer(layer):
    return fixed(layer, seed=4)


@pytest.mark.parametrize("layer", [LoRAEmbedding(11, 8), LoRAConv2d(4, 6, 3)], ids=["embedding", "conv"])
def test_the_face_is_a_lora_layers(layer):
    x = tokens() if isinstance(layer, LoRAEmbedding) else image(torch.float32)
    layer = filled_layer(layer)
    update = layer(x)
    layer.set_alpha(8)
    assert layer.scaling == 2
    assert torch.allclose(layer(x), 2 * update, atol=1e-5)
    assert torch.allclose(layer(x, base_output=torch.ones_like(update)), 1 + 2 * update, atol=1e-5)
    assert re.search(r"rank=4, scaling=2\b", str(layer))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_compiled_models_follow(case):
    torch._dynamo.reset()
    model, x = made(case)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(x), model(x), atol=1e-12)
    model.set_adapter({"default": 0.5})
    assert torch.allclose(compiled(x), model(x), atol=1e-12)
    torch._dynamo.reset()
