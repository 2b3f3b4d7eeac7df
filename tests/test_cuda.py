"""On a GPU: what holds on the CPU holds there, in half precision too. Skipped where there is none."""

import copy

from lora_teach import LoRAModel, train, training_steps
from tests.toy import bits, filled, mlp, numbers, same_bits

import pytest
import torch
from torch import nn

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
    # transformers 5.20 renamed gradient checkpointing; PEFT and transformers before it use the old name.
    pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.* is deprecated:FutureWarning"),
]
CUDA = torch.device("cuda")


def llama(dtype, seed=0):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, vocab_size=50
    )
    return transformers.LlamaForCausalLM(config).to(CUDA, dtype).eval()


def batches(count=6):
    return [(numbers(5, 6, seed=n), torch.arange(5) % 4) for n in range(count)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_new_adapter_changes_no_bit_and_removing_it_leaves_none(dtype):
    base = llama(dtype)
    tokens, before = torch.arange(12, device=CUDA).view(2, 6), bits(base)
    expected = base(tokens).logits
    model = LoRAModel(base, rank=4, alpha=8)
    kind = torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype
    assert {p.dtype for p in model.lora_layers.parameters()} == {kind}
    assert {p.device.type for p in model.lora_layers.parameters()} == {"cuda"}
    assert torch.equal(model(tokens).logits, expected)
    filled(model)
    assert not torch.allclose(model(tokens).logits, expected)
    assert torch.equal(model.remove()(tokens).logits, expected) and same_bits(bits(base), before)


@pytest.mark.parametrize(("dtype", "off"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_merged_is_unmerged_and_the_last_bit_comes_back(dtype, off):
    base = llama(dtype)
    model, tokens, before = (
        filled(LoRAModel(base, rank=4), std=0.05),
        torch.arange(12, device=CUDA).view(2, 6),
        bits(base),
    )
    expected = model(tokens).logits.double()
    with model.merged():
        got = model(tokens).logits.double()
    assert (got - expected).norm() <= off * expected.norm()
    assert same_bits(bits(base), before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_outputs_and_gradients_are_pefts(dtype):
    peft = pytest.importorskip("peft")
    base = llama(dtype)
    tokens = torch.arange(12, device=CUDA).view(2, 6)
    layers = ["q_proj", "v_proj", "down_proj"]
    theirs = peft.get_peft_model(
        copy.deepcopy(base), peft.LoraConfig(r=4, lora_alpha=8, target_modules=layers), autocast_adapter_dtype=False
    ).eval()
    ours = filled(LoRAModel(base, rank=4, alpha=8, target_modules=layers))
    pairs = []
    with torch.no_grad():
        for name, layer in ours.lora_layers.items():
            twin = theirs.base_model.model.get_submodule(name)
            a, b = twin.lora_A["default"].weight, twin.lora_B["default"].weight
            a.copy_(layer.lora_A.T)
            b.copy_(layer.lora_B.T)
            pairs += [(layer.lora_A, a), (layer.lora_B, b)]
    for model in (ours, theirs):
        model(tokens, labels=tokens).loss.backward()
    off = 1e-12 if dtype == torch.float64 else 1e-5
    difference = (ours(tokens).logits - theirs(tokens).logits).norm()
    assert difference <= off * theirs(tokens).logits.norm()
    for own, twin in pairs:
        assert (own.grad - twin.grad.T).norm() <= off * twin.grad.norm()


def test_training_moves_its_batches_and_a_kept_run_goes_on_to_the_same_bits(tmp_path):
    def run(folder, steps_seen=None):
        torch.manual_seed(0)
        base = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.3), nn.Linear(8, 4)).to(CUDA)
        model = LoRAModel(base, rank=2, dropout=0.2)
        options = {"lr": 1e-2, "steps": 20, "seed": 3, "checkpoint": folder, "checkpoint_every": 5}
        for step in training_steps(model, batches(), nn.functional.cross_entropy, **options):
            if step.index == steps_seen:
                break
        return model

    whole = run(tmp_path / "whole")
    run(tmp_path / "broken", steps_seen=12)
    assert same_bits(bits(run(tmp_path / "broken")), bits(whole))


def test_a_saved_adapter_comes_back_to_the_last_bit_on_either_device(tmp_path):
    model = filled(LoRAModel(mlp().to(CUDA), rank=2))
    model.save_adapter(tmp_path)
    for device in ("cpu", "cuda"):
        again = LoRAModel.from_pretrained(mlp().to(device), tmp_path)
        for layer, twin in zip(model.lora_layers.values(), again.lora_layers.values(), strict=True):
            assert torch.equal(layer.lora_A.cpu(), twin.lora_A.cpu()) and torch.equal(
                layer.lora_B.cpu(), twin.lora_B.cpu()
            )
            assert twin.lora_A.device.type == device


def test_autocast_trains_adapters_in_float32_over_a_float32_base():
    model = LoRAModel(llama(torch.float32), rank=4)
    tokens = torch.arange(12, device=CUDA).view(2, 6)
    with torch.autocast("cuda", torch.bfloat16):
        loss = model(tokens, labels=tokens).loss
    loss.backward()
    assert {p.grad.dtype for p in model.trainable_parameters()} == {torch.float32}


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model_follows_every_switch():
    model = LoRAModel(mlp().to(CUDA), rank=2)
    model.add_adapter("other", rank=3)
    filled(model)
    compiled, x = torch.compile(model), numbers(3, 6).to(CUDA)
    for choice in ("default", "other", {"default": 0.5, "other": 0.5}, None):
        model.set_adapter(choice)
        assert torch.allclose(compiled(x), model(x), atol=1e-5)


def test_a_step_can_be_captured_as_a_cuda_graph_and_replayed():
    model = filled(LoRAModel(mlp().to(CUDA), rank=2))
    x = numbers(3, 6).to(CUDA)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            model(x).sum().backward()
    torch.cuda.current_stream().wait_stream(stream)
    for parameter in model.trainable_parameters():
        parameter.grad = None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = model(x).sum()
        loss.backward()
    captured = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    x.copy_(numbers(3, 6, seed=9))
    graph.replay()
    found = {name: grad.clone() for name, grad in captured.items()}
    loss = loss.detach()  # with its graph it would keep nodes of the capture's stream alive
    for parameter in model.trainable_parameters():
        parameter.grad = None
    expected = model(x).sum()
    expected.backward()
    assert torch.allclose(loss, expected)
    for name, parameter in model.named_parameters():
        assert name not in found or torch.allclose(found[name], parameter.grad, atol=1e-6)


def test_gradient_checkpointing_gives_the_same_gradients():
    model = filled(LoRAModel(llama(torch.float32), rank=4))
    model.train()
    tokens, seen = torch.arange(12, device=CUDA).view(2, 6), []
    for checkpointing in (False, True):
        if checkpointing:
            model.base_model.gradient_checkpointing_enable({"use_reentrant": False})
        model(tokens, labels=tokens).loss.backward()
        seen.append([p.grad.clone() for p in model.trainable_parameters()])
        model.zero_grad()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*seen, strict=True))


def test_training_on_the_gpu_learns():
    model = LoRAModel(mlp().to(CUDA), rank=2)
    history = train(model, batches(), nn.functional.cross_entropy, lr=3e-2, steps=100, progress=False)
    assert history.loss[-1] < 0.7 * history.loss[0]
