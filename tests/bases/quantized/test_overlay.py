"""Adapters over quantised bases: ours, bitsandbytes' in four and in eight bits."""

import copy

from lora_teach import LoRAModel, train
from lora_teach.bases.quantized import dequantize_, quantize_, quantize_with_bitsandbytes_
from lora_teach.doctor import diagnose
from lora_teach.measure import lora_parameters, measure_memory, predict_flops, predict_memory
from lora_teach.measure.costs import new_base, random_batch
from lora_teach.measure.flops import count_flops
from tests.toy import bits, filled, fixed, numbers, picture, same_bits, same_picture

import pytest
import torch
import torch.nn.functional as F
from torch import nn

IN, HIDDEN, OUT, RANK = 64, 96, 32, 3


def by_bitsandbytes(base, kind="nf4"):
    pytest.importorskip("bitsandbytes")
    return quantize_with_bitsandbytes_(base, kind, block_size=32)


KINDS = {"ours": quantize_, "Linear4bit": by_bitsandbytes, "Linear8bitLt": lambda base: by_bitsandbytes(base, "int8")}


def plain():
    base = fixed(nn.Sequential(nn.Linear(IN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 64), nn.ReLU(), nn.Linear(64, OUT)))
    return base.requires_grad_(False).eval()


@pytest.fixture(params=KINDS)
def base(request):
    return KINDS[request.param](plain())


def dequantised(base):
    """The same base with plain layers of the weights that a quantised one computes with: its rows for the unit rows."""
    made = plain()
    for name, module in base.named_modules():
        if isinstance(module, nn.Linear):
            with torch.no_grad():
                rows = module.train()(torch.eye(module.in_features)) - (0 if module.bias is None else module.bias)
                module.eval()
            made.get_submodule(name).weight.data = rows.T.contiguous()
    return made


def test_a_new_adapter_changes_no_bit_and_removing_it_leaves_none(base):
    x = numbers(5, IN)
    expected, found = base(x), bits(base)
    model = LoRAModel(base, rank=RANK)
    assert list(model.lora_layers) == ["0", "2", "4"] and torch.equal(model(x), expected)
    assert not torch.equal(filled(model)(x), expected)
    assert torch.equal(model.remove()(x), expected) and same_bits(bits(base), found)


def test_adapters_are_float32_and_numbers_are_counted_not_bytes(base):
    model, same = LoRAModel(base, rank=RANK), LoRAModel(plain(), rank=RANK)
    assert {parameter.dtype for parameter in model.lora_layers.parameters()} == {torch.float32}
    assert model.count() == same.count() and lora_parameters(base, RANK) == same.count()[0]


def test_outputs_and_gradients_are_those_over_the_dequantised_layers(base):
    over_plain = dequantised(base)
    models = [filled(LoRAModel(one, rank=RANK), std=0.05).train() for one in (base, over_plain)]
    outputs = [model(numbers(5, IN)) for model in models]
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    for output in outputs:
        output.square().mean().backward()
    for mine, theirs in zip(*[model.lora_layers.named_parameters() for model in models], strict=True):
        assert mine[0] == theirs[0]
        torch.testing.assert_close(mine[1].grad, theirs[1].grad, rtol=1e-4, atol=1e-6)


def test_merging_is_refused_in_words_and_nothing_changes(base):
    model = filled(LoRAModel(base, rank=RANK))
    found = picture(model)
    for merge in (model.merge, lambda: model.remove(merge=True)):
        with pytest.raises(ValueError, match="0: its weight is quantised.*adapter beside it.*dequantize_"):
            merge()
    assert same_picture(found, picture(model))


def test_dora_is_refused(base):
    with pytest.raises(ValueError, match="0: its weight is quantised.*variant='lora'"):
        LoRAModel(base, rank=RANK, variant="dora")


def test_a_saved_adapter_comes_back_and_a_copy_answers_alike(base, tmp_path):
    model, x = filled(LoRAModel(base, rank=RANK)), numbers(5, IN)
    expected = model(x)
    assert torch.equal(copy.deepcopy(model)(x), expected)
    model.save_adapter(tmp_path)
    model.remove()
    assert torch.equal(LoRAModel.from_pretrained(base, tmp_path)(x), expected)


def test_it_trains_and_the_doctor_finds_nothing(base):
    model = LoRAModel(base.train(), rank=RANK)
    found, batch = bits(base), (numbers(32, IN), numbers(32, OUT))
    assert diagnose(model, batch=batch, loss_fn=F.mse_loss).ok
    history = train(model, [batch], F.mse_loss, lr=1e-2, steps=20, progress=False)
    assert history.loss[-1] < 0.9 * history.loss[0] and same_bits(bits(base), found)
    assert diagnose(model, batch=batch, loss_fn=F.mse_loss, history=history).ok


def test_dequantised_under_the_overlay_it_merges_and_is_as_good_as_beside():
    model, x = filled(LoRAModel(quantize_(plain()), rank=RANK)), numbers(5, IN)
    expected = model(x)
    assert dequantize_(model) is model and torch.equal(model(x), expected)
    model.merge()
    torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)
    model.unmerge()
    assert torch.equal(model(x), expected)
    merged = model.remove(merge=True)
    torch.testing.assert_close(merged(x), expected, rtol=1e-5, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in merged.parameters())


def test_merged_into_the_weights_from_before_quantising_it_is_another_model():
    model, x = filled(LoRAModel(quantize_(plain()), rank=RANK)), numbers(50, IN)
    expected = model(x)
    wrong = filled(LoRAModel(plain(), rank=RANK))(x)
    again = quantize_(dequantize_(model).remove(merge=True))(x)
    off = [((one - expected).norm() / expected.norm()).item() for one in (wrong, again)]
    assert all(0.02 < one < 0.5 for one in off)


def test_half_precision_beside_four_bits():
    base = quantize_(plain().bfloat16())
    model = filled(LoRAModel(base, rank=RANK))
    assert model(numbers(5, IN, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert {parameter.dtype for parameter in model.lora_layers.parameters()} == {torch.float32}


def test_peft_over_it_computes_and_differentiates_as_ours():
    peft = pytest.importorskip("peft")
    ours = filled(LoRAModel(quantize_(plain()), rank=RANK, alpha=6))
    config = peft.LoraConfig(r=RANK, lora_alpha=6, target_modules=["0", "2", "4"])
    theirs = peft.inject_adapter_in_model(config, quantize_(plain()))
    pairs = []
    for name, layer in ours.lora_layers.items():
        module = theirs.get_submodule(name)
        for factor, key in ((layer.lora_A, "lora_A"), (layer.lora_B, "lora_B")):
            weight = getattr(module, key)["default"].weight
            assert weight.dtype == torch.float32
            weight.data.copy_(factor.detach().T)
            pairs.append((factor, weight))
    outputs = [model(numbers(5, IN)) for model in (ours, theirs)]
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    for output in outputs:
        output.square().mean().backward()
    for mine, weight in pairs:
        assert (mine.grad.T - weight.grad).norm() <= 1e-5 * weight.grad.norm()


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=str)
def test_memory_and_products_of_a_step_are_predicted(dtype):
    base = new_base("tiny Llama") if dtype is None else new_base("tiny Llama", dtype)
    size = sum(parameter.numel() * parameter.itemsize for parameter in base.parameters())
    quantize_(base)
    predicted, flops = predict_memory(base, 3, 20, rank=2), predict_flops(base, 3, 20, rank=2)
    if dtype is None:  # a prediction for another dtype leaves the packed weights packed
        assert predict_memory(base, 3, 20, rank=2, dtype=torch.bfloat16).weights < predicted.weights < size / 2
    batch, _ = random_batch(base, 3, 20)
    model = LoRAModel(base, rank=2)
    measured = measure_memory(model, batch)
    assert (predicted.weights, predicted.adapters) == (measured.weights, measured.adapters)
    assert predicted.activations == pytest.approx(measured.activations, rel=0.02)
    assert (flops.forward, flops.backward) == count_flops(model, batch)


def test_what_cannot_be_predicted_is_said():
    with pytest.raises(ValueError, match="all weights train, and .*is quantised.*Give a rank"):
        predict_memory(quantize_(new_base("tiny Llama")), 2, 5)
    with pytest.raises(TypeError, match="Params4bit of bitsandbytes.*quantize_.*measure_memory"):
        predict_memory(by_bitsandbytes(plain()), 2, 5, rank=2)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch.compile's own doing
def test_a_compiled_model_follows_and_so_do_checkpointed_blocks():
    model, x = filled(LoRAModel(quantize_(plain()), rank=RANK)).train(), numbers(5, IN)
    expected = model(x)
    expected.sum().backward()
    grads = [parameter.grad.clone() for parameter in model.trainable_parameters()]
    torch._dynamo.reset()
    ways = {
        "compiled": torch.compile(model, backend="aot_eager", fullgraph=True),
        "checkpointed": lambda x: torch.utils.checkpoint.checkpoint(model, x, use_reentrant=False),
    }
    for name, way in ways.items():
        model.zero_grad()
        output = way(x)
        torch.testing.assert_close(output, expected, msg=name)
        output.sum().backward()
        for parameter, grad in zip(model.trainable_parameters(), grads, strict=True):
            torch.testing.assert_close(parameter.grad, grad, msg=name)
