"""DoRA beside embeddings and convolutions, with bias: PEFT's outputs, gradients and files; exact to merge and undo."""

import warnings

from lora_teach import LoRAModel, train
from lora_teach.layers.dora import DoRAConv2d, DoRAEmbedding, DoRALayer
from lora_teach.peft_format.xray import lint, xray
from tests.layers.test_build import CASES, MERGED, Pictures, Words, image, plain
from tests.test_architectures import close
from tests.toy import bits, numbers, picture, same_bits, same_picture

import pytest
import torch
from torch import nn

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
CASES_HERE = [name for name in MERGED if name in CASES]


@pytest.fixture(params=CASES_HERE)
def case(request):
    return request.param


def made(case, dtype=torch.float64, **options):
    """A DoRA model with factors and magnitudes that are off their start."""
    wanted, _, given = CASES[case]
    model = LoRAModel(plain(case, dtype), target_modules=wanted, variant="dora", **{"alpha": 6, **options})
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for layer in model.lora_layers.values():
            for parameter in (layer.lora_A, layer.lora_B, layer.magnitude):
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator).to(parameter)
    x = given()
    return model.eval(), x.to(dtype) if x.is_floating_point() else x


def twin_of(model, case, dtype=torch.float64, **options):
    """PEFT's DoRA over an equal base, with the same numbers."""
    config = peft.LoraConfig(r=4, lora_alpha=6, use_dora=True, target_modules=CASES[case][0], **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin = peft.get_peft_model(plain(case, dtype), config, autocast_adapter_dtype=False).eval()
    with torch.no_grad():
        for layer, *theirs in both(model, twin):
            for one, ours in zip(theirs, (layer.lora_A.T, layer.lora_B.T, layer.magnitude), strict=True):
                one.copy_(ours.reshape(one.shape))
    return twin


def both(model, twin):
    for name, layer in model.lora_layers.items():
        theirs = twin.base_model.model.get_submodule(name)
        if isinstance(layer, DoRAEmbedding):
            A, B = theirs.lora_embedding_A["default"], theirs.lora_embedding_B["default"]
        else:
            A, B = theirs.lora_A["default"].weight, theirs.lora_B["default"].weight
        yield layer, A, B, theirs.lora_magnitude_vector["default"].weight


def gradients_agree(model, twin, dtype):
    for layer, A, B, magnitude in both(model, twin):
        for ours, theirs in ((layer.lora_A.grad.T, A), (layer.lora_B.grad.T, B), (layer.magnitude.grad, magnitude)):
            assert close(ours.reshape(theirs.shape), theirs.grad, dtype) and theirs.grad.any()
    return True


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_outputs_and_gradients_equal_pefts(case, dtype):
    model, x = made(case, dtype)
    twin = twin_of(model, case, dtype)
    ours, theirs = model(x), twin(x)
    assert close(ours, theirs, dtype) and not close(ours, plain(case, dtype)(x), dtype)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    assert gradients_agree(model, twin, dtype)


@pytest.mark.parametrize("case", ["conv", "conv_all", "embedding_and_linear"])
def test_dropout_acts_where_pefts_does(case):
    model, x = made(case, dropout=0.4)
    twin, outputs = twin_of(model, case, lora_dropout=0.4), []
    for one in (model.train(), twin.train()):
        torch.manual_seed(0)
        outputs.append(one(x))
        outputs[-1].square().sum().backward()
    assert close(*outputs, torch.float64) and gradients_agree(model, twin, torch.float64)


def test_a_new_layer_changes_no_bit(case):
    wanted, _, given = CASES[case]
    model, x = LoRAModel(plain(case), target_modules=wanted, variant="dora"), given()
    assert torch.equal(model(x), plain(case)(x))
    assert all(layer.is_zero() for layer in model.lora_layers.values())


def test_merged_equals_unmerged_after_training_and_all_is_undone(case):
    wanted, _, given = CASES[case]
    base, x = plain(case, torch.float32), given()
    x = x.float() if x.is_floating_point() else x
    model = LoRAModel(base, target_modules=wanted, variant="dora")
    before, start = bits(base), [layer.magnitude.detach().clone() for layer in model.lora_layers.values()]
    target = numbers(*model(x).shape)
    history = train(model, [(x, target)], nn.functional.mse_loss, lr=3e-2, steps=6, progress=False)
    assert history.loss[-1] < history.loss[0]
    assert not any(map(torch.equal, start, [layer.magnitude for layer in model.lora_layers.values()]))
    output = model(x)
    with model.merged():
        assert (model(x) - output).abs().max() <= 1e-5 * output.abs().max()
    with model.disabled():
        assert torch.equal(model(x), plain(case, torch.float32)(x))
    assert torch.equal(model(x), output)
    assert same_bits(before, bits(model.remove()))


def test_files_go_to_peft_and_back(case, tmp_path):
    model, x = made(case)
    model.save_adapter(tmp_path / "ours")
    assert lint(tmp_path / "ours") == [] and xray(tmp_path / "ours").variant == "dora"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin = peft.PeftModel.from_pretrained(plain(case), tmp_path / "ours", autocast_adapter_dtype=False).eval()
        assert close(twin(x), model(x), torch.float64)
        twin.save_pretrained(tmp_path / "theirs")
    for folder in ("ours", "theirs"):
        again = LoRAModel.from_pretrained(plain(case), tmp_path / folder)
        assert close(again(x), model(x), torch.float64)
        assert same_bits(bits(again.lora_layers), bits(model.lora_layers))


def test_the_norm_is_that_of_an_output_feature():
    words = LoRAModel(Words(), target_modules=["embedding"], variant="dora")
    layer = words.lora_layers["embedding"]
    assert isinstance(layer, DoRAEmbedding)
    assert torch.allclose(layer.magnitude, words.base_model.embedding.weight.norm(dim=0))  # (embedding_dim,)
    pictures = LoRAModel(Pictures(), target_modules=["conv", "head"], variant="dora")
    layer = pictures.lora_layers["conv"]
    assert isinstance(layer, DoRAConv2d) and isinstance(pictures.lora_layers["head"], DoRALayer)
    assert torch.allclose(layer.magnitude, pictures.base_model.conv.weight.flatten(1).norm(dim=1))  # (out_channels,)


def test_a_picture_without_a_batch_works_too():
    model, _ = made("conv_strides")
    x = image(batch=())
    assert torch.allclose(model.base_model.conv(x), model.base_model.conv(x[None])[0], atol=1e-12)


def test_mixing_is_refused():
    model, _ = made("embedding")
    with pytest.raises(ValueError, match="'default' has its own embedding, which cannot be mixed"):
        model.set_adapter({"default": 0.5})


def test_groups_are_refused_and_nothing_changes():
    base = Pictures(groups=2)
    before = picture(base)
    with pytest.raises(ValueError, match="conv: its weight has groups=2.*variant='lora'"):
        LoRAModel(base, target_modules=["conv"], variant="dora")
    assert same_picture(before, picture(base))
