"""Quantised bases on a GPU, ours and bitsandbytes'. Skipped where there is none."""

from lora_teach import LoRAModel, train
from lora_teach.bases.quantized import QuantizedLinear, quantize, quantize_, quantize_with_bitsandbytes_
from tests.toy import filled, fixed, numbers

import pytest
import torch
import torch.nn.functional as F
from torch import nn

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def plain(dtype=torch.float32):
    base = fixed(nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 64)))
    return base.requires_grad_(False).to("cuda", dtype).eval()


def test_it_is_quantised_there_as_on_the_cpu_and_moves():
    there, here = quantize_(plain()), quantize_(plain().cpu())
    for mine, theirs in zip(there.state_dict().values(), here.state_dict().values(), strict=True):
        torch.testing.assert_close(mine.cpu(), theirs, rtol=1e-6, atol=0)
    assert torch.equal(here.to("cuda")[0].dequantize().cpu(), here.to("cpu")[0].dequantize())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_step_is_the_one_over_the_dequantised_layers(dtype):
    quantised, x = quantize_(plain(dtype)), numbers(16, 256, dtype=dtype).cuda()
    wide = plain(dtype)
    for layer, module in zip(wide, quantised, strict=True):
        if isinstance(module, QuantizedLinear):
            layer.weight.copy_(module.dequantize())
    models = [filled(LoRAModel(base, rank=4), std=0.05) for base in (quantised, wide)]
    outputs = [model(x) for model in models]
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.float().square().mean().backward()
    for mine, theirs in zip(*[model.lora_layers.parameters() for model in models], strict=True):
        assert mine.dtype == torch.float32 and mine.device.type == "cuda"
        assert (mine.grad - theirs.grad).norm() <= (1e-4 if dtype == torch.float32 else 3e-2) * theirs.grad.norm()


def test_a_captured_step_replays():
    model, x = filled(LoRAModel(quantize_(plain()), rank=4)), numbers(16, 256).cuda()
    parameters = model.trainable_parameters()

    def step():
        model(x).square().mean().backward()

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    expected = [parameter.grad / 3 for parameter in parameters]
    model.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    graph.replay()
    for parameter, grad in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape, block_size", [((512, 256), 64), ((96, 96), 64), ((512, 256), 128)])
@pytest.mark.parametrize("double", [False, True])
def test_there_and_back_equals_bitsandbytes(shape, block_size, double):
    theirs = pytest.importorskip("bitsandbytes.functional")
    weight = numbers(*shape).cuda() * 0.05
    packed, state = theirs.quantize_4bit(weight, blocksize=block_size, quant_type="nf4", compress_statistics=double)
    assert torch.equal(quantize(weight, 4, block_size, double).dequantize(), theirs.dequantize_4bit(packed, state))


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_adapters_train_over_bitsandbytes_layers(kind):
    pytest.importorskip("bitsandbytes")
    base, x = quantize_with_bitsandbytes_(plain(torch.float16), kind), numbers(32, 256, dtype=torch.float16).cuda()
    expected = base(x)
    model = LoRAModel(base, rank=4)
    assert torch.equal(model(x), expected)
    assert model.count() == LoRAModel(plain(), rank=4).count()
    batch = (x, numbers(32, 64, dtype=torch.float16).cuda())
    history = train(model, [batch], F.mse_loss, lr=1e-3, steps=20, progress=False)
    assert history.loss[-1] < history.loss[0]
    with pytest.raises(ValueError, match="quantised"):
        model.merge()
