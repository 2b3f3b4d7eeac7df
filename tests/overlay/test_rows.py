"""Rows of one batch with an adapter each: equal to one call for each adapter, and to PEFT's mixed batches."""

import copy
import re

from lora_teach import LoRALayer, LoRAModel, training_steps
from lora_teach.bases import gumbel_noise, load_language_adapter, load_name_gpt, sample_names
from lora_teach.layers.bias import take_on
from tests.tiny_language_model import tiny_model
from tests.toy import TinyGPT, filled, fixed, mlp, numbers, picture, same_picture, tokens

import pytest
import torch
from torch import nn

NAMES = ["b", None, "default", "b", "wide"]


@pytest.fixture
def model():
    """Three adapters of ranks 4, 2 and 3 over a small GPT, the last in other layers and with a learned scaling."""
    model = LoRAModel(TinyGPT(tied=False).double(), alpha=6, target_modules=["q_proj", "v_proj"])
    model.add_adapter("b", rank=2, target_modules=["q_proj", "v_proj"], scaling="alpha/sqrt(r)")
    model.add_adapter("wide", rank=3, target_modules=["v_proj", "head"], learnable_scaling=True)
    return filled(model).eval()


def separately(model, names, *inputs):
    """Each row by a call of its own."""
    found, outputs = model.active_adapters, []
    for row, name in enumerate(names):
        model.set_adapter(name)
        outputs.append(model(*(one[row : row + 1] for one in inputs)))
    model.set_adapter(found)
    return torch.cat(outputs)


def together(model, names, *inputs):
    with model.rows(names):
        return model(*inputs)


@pytest.mark.parametrize("gradients", [True, False])
def test_each_row_is_as_with_its_adapter_alone(model, gradients):
    x = tokens(5)
    with torch.set_grad_enabled(gradients):
        assert torch.allclose(together(model, NAMES, x), separately(model, NAMES, x), rtol=1e-12, atol=1e-12)
        assert torch.equal(together(model, [None] * 5, x), TinyGPT(tied=False).double().eval()(x))


def test_gradients_are_those_of_separate_calls(model):
    x, gradients = tokens(5), []
    for call in (together, separately):
        model.zero_grad()
        if call is together:
            with model.rows(NAMES):
                assert len(model.trainable_parameters()) == 8 + 8 + 9
                model(x).square().sum().backward()
        else:
            for row, name in enumerate(NAMES):
                model.set_adapter(name)
                if name is not None:
                    model(x[row : row + 1]).square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in model.adapters.named_parameters()})
    for name in gradients[0]:
        assert torch.allclose(gradients[0][name], gradients[1][name], rtol=1e-12, atol=1e-12), name


@pytest.mark.parametrize("shape", [(4, 6), (4, 3, 6), (4, 2, 3, 6), (4, 0, 6)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_inputs_of_any_shape_and_half_precision(shape, dtype):
    model = LoRAModel(mlp(dtype))
    model.add_adapter("b", rank=2)
    filled(model)
    x, names = numbers(*shape, dtype=dtype), ["b", None, "b", "default"]
    tolerance = 1e-12 if dtype == torch.float64 else 0.1
    assert torch.allclose(together(model, names, x), separately(model, names, x), rtol=tolerance, atol=tolerance)


class Doubled(LoRALayer):
    def forward(self, x):
        return 2 * super().forward(x)


def replaced(model):
    layer = Doubled(8, 8, rank=2, dtype=torch.float64)
    model.adapters["b"]["blocks.0.q_proj"] = layer
    nn.init.ones_(layer.lora_B)


def hooked(model):
    model.adapters["b"]["blocks.0.q_proj"].register_forward_hook(lambda layer, args, output: output + 1)


def with_bias(model):
    take_on(model.adapters["b"]["blocks.0.q_proj"], model.base_model.blocks[0].q_proj, numbers(8))


@pytest.mark.parametrize("change", [replaced, hooked, with_bias], ids=lambda change: change.__name__)
def test_a_layer_that_does_more_counts(model, change):
    x, before = tokens(5), together(model, NAMES, tokens(5))
    change(model)
    output = together(model, NAMES, x)
    assert torch.allclose(output, separately(model, NAMES, x), rtol=1e-12, atol=1e-12)
    assert not torch.allclose(output[0], before[0]) and torch.allclose(output[1:3], before[1:3], rtol=1e-12, atol=1e-12)


def test_dora_and_embeddings():
    model = LoRAModel(TinyGPT(tied=False).double(), target_modules=["q_proj"], variant="dora")
    model.add_adapter("b", target_modules=["embedding", "q_proj"])
    filled(model).eval()
    x, names = tokens(3), ["b", None, "default"]
    assert torch.allclose(together(model, names, x), separately(model, names, x), rtol=1e-12, atol=1e-12)


def test_convolutions():
    model = LoRAModel(fixed(nn.Sequential(nn.Conv2d(2, 6, 3))).double(), target_modules=["0"], rank=2)
    filled(model)
    x, names = numbers(3, 2, 5, 5, dtype=torch.float64), ["default", None, "default"]
    assert torch.allclose(together(model, names, x), separately(model, names, x), rtol=1e-12, atol=1e-12)


def test_dropout_in_training_is_each_adapters_own(model):
    model.add_adapter("dropped", rank=2, dropout=0.9)
    filled(model)
    for block in model.base_model.blocks:
        block.dropout.p = 0.0
    x, names = tokens(3), ["dropped", "b", None]
    alone = separately(model, names, x)
    model.train()
    output = together(model, names, x)
    assert torch.allclose(output[1:], alone[1:], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(output[0], alone[0])


def test_a_change_of_the_numbers_inside_the_block_counts(model):
    x = tokens(5)
    with torch.no_grad(), model.rows(NAMES):
        before = model(x)
        layer = model.adapters["b"]["blocks.0.v_proj"]
        layer.lora_B.mul_(2)
        moved = model(x)
        layer.scaling *= 3
        scaled = model(x)
        model.adapters["wide"]["head"].scaling.mul_(2)
        learned = model(x)
    assert not torch.allclose(moved[0], before[0]) and torch.equal(moved[1:3], before[1:3])
    assert not torch.allclose(scaled[0], moved[0]) and not torch.allclose(learned[4], scaled[4])
    with torch.no_grad():
        assert torch.allclose(learned, separately(model, NAMES, x), rtol=1e-12, atol=1e-12)


def test_inference_mode(model):
    x = tokens(5)
    expected = separately(model, NAMES, x)
    with torch.inference_mode():
        assert torch.allclose(together(model, NAMES, x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("found", ["default", {"default": 0.3, "b": 0.7}, None], ids=str)
def test_what_was_found_is_restored_also_after_an_error(model, found):
    model.set_adapter(found)
    before = picture(model)
    with model.rows(NAMES):
        assert model.active_adapters == {"b": 1.0, "default": 1.0, "wide": 1.0} and model.open_rows == NAMES
        model(tokens(5))
        with model.disabled():
            assert torch.equal(model(tokens(5)), TinyGPT(tied=False).double().eval()(tokens(5)))
    assert same_picture(before, picture(model)) and model.open_rows is None
    with pytest.raises(ZeroDivisionError), model.rows(NAMES):
        1 / 0  # noqa: B018
    assert same_picture(before, picture(model))


@pytest.mark.parametrize(
    ("change", "verb"),
    [
        (lambda m: m.rows(NAMES).__enter__(), "rows(…)"),
        (lambda m: m.set_adapter("b"), "set_adapter('b')"),
        (lambda m: m.add_adapter("c"), "add_adapter('c')"),
        (lambda m: m.delete_adapter("b"), "delete_adapter('b')"),
        (lambda m: m.load_adapter("nowhere", "c"), "load_adapter('nowhere')"),
        (lambda m: m.set_alpha(2), "set_alpha(2)"),
        (lambda m: m.merge(), "merge()"),
        (lambda m: m.remove(), "remove()"),
        (copy.deepcopy, "copying"),
    ],
)
def test_within_rows_nothing_can_be_changed(model, change, verb):
    with model.rows(NAMES):
        before = picture(model)
        with pytest.raises(RuntimeError, match=re.escape(f"{verb}: the model is inside rows(). Leave")):
            change(model)
        assert same_picture(before, picture(model))


def test_training_is_refused_and_says_why(model):
    with model.rows(["b"] * 3), pytest.raises(RuntimeError, match="a block for each batch"):
        next(training_steps(model, [(tokens(3), tokens(3))], lambda output, _: output.sum(), steps=1))


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        ("b", TypeError, "use a list"),
        (["b", 3], TypeError, "use a list"),
        ([{"b": 0.5}], TypeError, "use a list"),
        (3, TypeError, "use a list"),
        ([], ValueError, "names no row"),
        (["b", "defualt"], KeyError, "there is no adapter 'defualt'; did you mean 'default'"),
        (["b", "head"], ValueError, "'head' has its own 'head'.*set_adapter"),
    ],
)
def test_what_cannot_be_is_refused(model, names, error, words):
    model.delete_adapter("wide")
    model.add_adapter("head", target_modules=["q_proj"], modules_to_save=["head"])
    before = picture(model)
    with pytest.raises(error, match=words), model.rows(names):
        pass
    assert same_picture(before, picture(model))


def test_a_merged_or_disabled_model_is_refused(model):
    with model.merged(), pytest.raises(RuntimeError, match="merged.*unmerge"), model.rows(NAMES):
        pass
    with model.disabled(), pytest.raises(RuntimeError, match="disabled"), model.rows(NAMES):
        pass


@pytest.mark.parametrize("batch", [1, 4, 10])
def test_a_batch_of_another_length_is_refused(model, batch):
    with model.rows(NAMES), pytest.raises(ValueError, match=rf"names 5 rows, and 'blocks.0.v_proj'.*\({batch}, 5, 8\)"):
        model(tokens(batch))


def test_a_base_whose_first_dimension_is_not_the_batch_is_refused():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=False)
    model = LoRAModel(nn.TransformerEncoder(layer, 1, enable_nested_tensor=False))
    with pytest.raises(ValueError, match="batch_first=True"), model.rows(["default"] * 3):
        pass


def language_model():
    model = LoRAModel(tiny_model(), alpha=8)
    model.add_adapter("b", rank=2, target_modules=["q_proj", "down_proj"])
    return filled(model).eval()


@pytest.mark.parametrize("beams", [1, 3])
def test_generate_writes_with_each_rows_adapter(beams):
    model, names = language_model(), ["b", None, "default"]
    prompts = tokens(3, 4, size=12)
    options = {"max_new_tokens": 6, "do_sample": False, "num_beams": beams, "attention_mask": torch.ones(1, 4).long()}
    expected = []
    for row, name in enumerate(names):
        model.set_adapter(name)
        expected.append(model.generate(prompts[row : row + 1], **options)[0].tolist())
    options["attention_mask"] = torch.ones(3, 4).long()
    with model.rows([name for name in names for _ in range(beams)]):
        written = model.generate(prompts, **options).tolist()
    for one, other in zip(written, expected, strict=True):
        assert one[: len(other)] == other and set(one[len(other) :]) <= {0, 1}  # padded behind its end
    if beams > 1:
        with model.rows(names), pytest.raises(ValueError, match="name each prompt that many times"):
            model.generate(prompts, **options)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT asks transformers the old way
def test_pefts_mixed_batches_give_the_same(tmp_path):
    peft = pytest.importorskip("peft")
    model = language_model().double()
    for name in model.adapter_names:
        model.save_adapter(tmp_path, name)
    theirs = peft.PeftModel.from_pretrained(tiny_model().double(), tmp_path)
    theirs.load_adapter(tmp_path / "b", "b")
    theirs.double().eval()
    names, x = ["b", None, "default", "default", "b"], tokens(5, 4, size=12)
    with torch.no_grad():
        expected = theirs(x, adapter_names=[name or "__base__" for name in names]).logits
        with model.rows(names):
            assert torch.allclose(model(x).logits, expected, rtol=1e-12, atol=1e-12)


def test_names_of_several_languages_are_written_in_one_batch():
    model = load_language_adapter(load_language_adapter(load_name_gpt(), "Finnish"), "Zulu")
    noise, languages = gumbel_noise(4, seed=3), ["Zulu", None, "Finnish"]
    expected = []
    for language in languages:
        model.set_adapter(language)
        expected += sample_names(model, noise)
    with model.rows([language for language in languages for _ in range(4)]):
        assert sample_names(model, noise.repeat(3, 1, 1)) == expected
