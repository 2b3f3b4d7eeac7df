"""Every line that the article this course grew out of gives its readers runs as it is written there.

The calls below are the article's own, line by line; around them stands only what it takes to see that they mean what
it says. Its broken forward stands at the end, with both of its reasons.
"""

from lora_teach import LoRALayer, LoRAModel
from tests.toy import TinyGPT, bits, filled, mlp, numbers, same_bits, tokens

import pytest
import torch
import torch.nn as nn

in_features, out_features = 6, 4


def batches(count=4):
    return [(numbers(8, 6, seed=i), torch.arange(8) % 4) for i in range(count)]


def test_a_lora_layer_is_made_from_two_sizes_and_a_rank():
    layer = LoRALayer(in_features, out_features, rank=4)
    assert layer.lora_A.shape == (in_features, 4)
    assert layer.lora_B.shape == (4, out_features)
    assert isinstance(layer.lora_A, nn.Parameter)
    assert isinstance(layer.lora_B, nn.Parameter)
    assert not layer.lora_B.any()
    x = numbers(3, 6)
    assert torch.allclose(layer(x), layer.scaling * (x @ layer.lora_A @ layer.lora_B))


def test_its_constant_scaling_can_be_asked_for_and_set():
    assert LoRALayer(in_features, out_features, rank=4, alpha=0.01, scaling="alpha").scaling == 0.01
    layer = LoRALayer(in_features, out_features, rank=4)
    layer.scaling = 0.01
    with torch.no_grad():
        layer.lora_B.fill_(1.0)
    x = numbers(3, 6)
    assert torch.allclose(layer(x), 0.01 * (x @ layer.lora_A @ layer.lora_B))


def test_a_model_is_wrapped_by_one_call():
    base_model = mlp()
    model = LoRAModel(base_model)
    assert model.base_model is base_model
    assert set(model.lora_layers) == {"0", "2"}
    batch = numbers(3, 6)
    assert torch.equal(model(batch), base_model(batch))


def test_its_freezing_loop_freezes_the_base_and_leaves_the_adapters():
    model = LoRAModel(mlp())
    for param in model.base_model.parameters():
        param.requires_grad = False
    assert not any(param.requires_grad for param in model.base_model.parameters())
    assert all(param.requires_grad for param in model.lora_layers.parameters())


def test_its_training_loop_moves_the_adapters_alone_and_lowers_the_loss():
    model = LoRAModel(mlp())
    for param in model.base_model.parameters():
        param.requires_grad = False
    dataloader, criterion, num_epochs = batches(), nn.CrossEntropyLoss(), 40
    before, losses = bits(model.base_model), []

    optimizer = torch.optim.AdamW(model.lora_layers.parameters(), lr=1e-3)
    model.train()
    for epoch in range(num_epochs):  # noqa: B007
        for batch, targets in dataloader:
            optimizer.zero_grad()
            outputs = model(batch)
            loss = criterion(outputs, targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

    assert sum(losses[-4:]) < sum(losses[:4])
    assert same_bits(before, bits(model.base_model))
    assert all(layer.lora_B.any() for layer in model.lora_layers.values())


def test_its_evaluation():
    model = filled(LoRAModel(TinyGPT(), dropout=0.5))
    batch = tokens()
    model.eval()
    with torch.no_grad():
        outputs = model(batch)
    assert not outputs.requires_grad
    assert torch.equal(outputs, model(batch))  # no dropout
    assert not model.base_model.training


def test_one_base_serves_several_tasks_by_switching_adapters():
    base_model = mlp()
    model = LoRAModel(base_model, adapter_name="task_a")
    model.add_adapter("task_b")
    filled(model)
    batch, outputs = numbers(3, 6), {}
    for task in ("task_a", "task_b", "task_a"):
        model.set_adapter(task)
        if task in outputs:
            assert torch.equal(model(batch), outputs[task])
        outputs[task] = model(batch)
    assert not torch.allclose(outputs["task_a"], outputs["task_b"], atol=1e-3)
    small = sum(p.numel() for p in model.lora_layers.parameters())
    assert small < 2 * sum(p.numel() for p in base_model.parameters())


def test_its_learnable_scaling_learns():
    model = filled(LoRAModel(mlp()))
    for layer in model.lora_layers.values():
        layer.scaling = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.AdamW(model.lora_layers.parameters(), lr=1e-3)
    inputs, targets = batches(1)[0]
    nn.functional.cross_entropy(model(inputs), targets).backward()
    optimizer.step()
    assert all(layer.scaling.item() != 1 for layer in model.lora_layers.values())
    assert LoRALayer(in_features, out_features, learnable_scaling=True).scaling.shape == torch.ones(1).shape


def test_only_some_layers_are_adapted():
    model = LoRAModel(TinyGPT(), target_modules=["q_proj", "v_proj"])
    assert all(name.endswith(("q_proj", "v_proj")) for name in model.lora_layers)
    assert list(LoRAModel(TinyGPT(), target_modules=["blocks.1.q_proj"]).lora_layers) == ["blocks.1.q_proj"]


def test_the_article_s_layer_works_in_the_model_as_it_stands():
    class ArticleLayer(nn.Module):
        def __init__(self, in_features, out_features, rank=4):
            super().__init__()
            self.lora_A = nn.Parameter(torch.randn(in_features, rank))
            self.lora_B = nn.Parameter(torch.zeros(rank, out_features))
            self.scaling = 0.01

        def forward(self, x):
            return self.scaling * (x @ self.lora_A @ self.lora_B)

    model = LoRAModel(mlp())
    batch = numbers(3, 6)
    plain = model(batch)
    for name, layer in model.lora_layers.items():
        model.lora_layers[name] = ArticleLayer(layer.in_features, layer.out_features)
    assert torch.equal(model(batch), plain)
    with torch.no_grad():
        model.lora_layers["2"].lora_B.fill_(1.0)
    hidden = mlp()[:2](batch)
    assert torch.allclose(model(batch), plain + model.lora_layers["2"](hidden), atol=1e-6)
    model(batch).sum().backward()
    assert model.lora_layers["0"].lora_B.grad.abs().sum() > 0


# Its forward, which cannot work, and why.


class ArticleModel(nn.Module):
    def __init__(self, base_model, table):
        super().__init__()
        self.base_model = base_model
        self.lora_layers = table
        for name, module in base_model.named_modules():
            if isinstance(module, nn.Linear):
                self.lora_layers[name] = LoRALayer(module.in_features, module.out_features)

    def forward(self, x):
        for name, module in self.base_model.named_modules():
            if name in self.lora_layers:
                x = module(x) + self.lora_layers[name](x)
            else:
                x = module(x)
        return x


def test_the_article_s_forward_fails_since_a_module_dict_refuses_dotted_names():
    with pytest.raises(KeyError, match="module name can.*t contain"):
        ArticleModel(TinyGPT(), nn.ModuleDict())


def test_the_article_s_forward_fails_since_named_modules_gives_the_root_and_every_container_too():
    base, calls = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 4)), []
    base[0][0].register_forward_hook(lambda *_: calls.append("inner"))
    base[1].register_forward_hook(lambda *_: calls.append("last"))
    model = ArticleModel(base, {})
    x = numbers(3, 4)
    wrong = model(x)
    # The root runs everything, then the inner container runs its part, and only then each layer runs by itself.
    assert calls == ["inner", "last", "inner", "inner", "last"]
    assert not torch.allclose(wrong, base(x), atol=1e-3)
    calls.clear()
    ours = LoRAModel(base)
    assert torch.equal(ours(x), base(x))
    assert calls == ["inner", "last"] * 2
