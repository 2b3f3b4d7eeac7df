"""torch.compile: one compiled model follows every switch."""

from lora_teach import LoRALayer, LoRAModel, training_steps
from tests.toy import filled, fixed, mlp, numbers

import pytest
import torch

pytestmark = [
    # torch.compile itself looks at .grad of tensors that are no leaves.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Counting:
    """A backend that runs the graphs as they are and counts them."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


@pytest.fixture
def model():
    model = LoRAModel(mlp())
    model.add_adapter("b", rank=2, learnable_scaling=True)
    return filled(model)


def test_a_compiled_model_follows_switching_mixing_merging_and_alpha(model):
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    x, seen = numbers(3, 6), []

    def check():
        output = compiled(x)
        assert torch.allclose(output, model(x), atol=1e-6)
        seen.append(output.detach())

    check()
    model.set_adapter("b")
    check()
    model.set_adapter({"default": 0.5, "b": 0.5})
    check()
    model.merge()
    check()
    model.unmerge()
    model.set_adapter(None)
    check()
    model.set_adapter("default")
    with model.disabled():
        check()
    model.set_alpha(11)
    check()
    assert torch.equal(seen[4], seen[5])
    assert torch.allclose(seen[2], seen[3], atol=1e-5)
    for one, other in ((0, 1), (1, 2), (3, 4), (0, 6)):
        assert not torch.allclose(seen[one], seen[other], atol=1e-3)


def test_the_base_may_be_compiled_before_the_overlay_is_switched(model):
    model.base_model.compile(backend="eager")
    x = numbers(3, 6)
    for choice in ("default", "b", {"default": 0.5}, None):
        model.set_adapter(choice)
        output = model(x)
        with torch.compiler.set_stance("force_eager"):
            assert torch.allclose(output, model(x), atol=1e-6)


def test_a_compiled_model_follows_the_rows(model):
    compiled, x = torch.compile(model, backend="eager", fullgraph=True), numbers(3, 6)
    for names in (["b", None, "default"], ["default", "default", "b"]):
        for gradients in (True, False):
            with model.rows(names), torch.set_grad_enabled(gradients):
                assert torch.allclose(compiled(x), model(x), atol=1e-6)
    assert torch.allclose(compiled(x), model(x), atol=1e-6)


@pytest.mark.parametrize("turn", ["strength", "alpha"])
def test_a_slider_does_not_compile_anew_at_each_move(turn):
    model, backend = filled(LoRAModel(mlp())), Counting()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    x = numbers(3, 6)
    for move in range(1, 13):
        if turn == "strength":
            model.set_adapter({"default": move / 8 + 0.01})
        else:
            model.set_alpha(move / 3)
        assert torch.allclose(compiled(x), model(x), atol=1e-6)
    assert backend.graphs <= 3


@pytest.mark.parametrize("gradients", [False, True])
def test_a_transformer_encoder_with_a_padding_mask_compiles_whole(gradients):
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    model = filled(LoRAModel(fixed(torch.nn.TransformerEncoder(layer, 2)).eval()))
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[0, 3:] = True
    x, real = numbers(3, 5, 16), ~padding
    expected = model(x, src_key_padding_mask=padding)[real]
    with torch.set_grad_enabled(gradients):
        compiled = torch.compile(model, backend="eager", fullgraph=True)(x, src_key_padding_mask=padding)[real]
    assert torch.allclose(compiled, expected, atol=1e-5)


def test_a_replaced_layer_counts_in_a_compiled_model():
    model = filled(LoRAModel(mlp()))
    compiled = torch.compile(model, backend="eager")
    x = numbers(3, 6)
    first = compiled(x)

    class Mine(LoRALayer):
        def forward(self, x):
            return 7.0 + 0 * super().forward(x)

    model.lora_layers["2"] = Mine(8, 4)
    assert torch.allclose(compiled(x), model(x), atol=1e-6)
    assert not torch.allclose(compiled(x), first, atol=1e-3)


def test_gradients_through_a_compiled_model_equal_the_plain_ones():
    model = filled(LoRAModel(mlp(), learnable_scaling=True))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    x = numbers(3, 6)
    for choice in ("default", {"default": 0.5}):
        model.set_adapter(choice)
        gradients = []
        for run in (model, compiled):
            model.zero_grad()
            run(x).square().sum().backward()
            gradients.append([p.grad.clone() for p in model.trainable_parameters()])
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_a_compiled_model_trains_as_the_plain_one():
    batches = [(numbers(8, 6, seed=i), numbers(8, 4, seed=i + 9)) for i in range(3)]
    losses = []
    for compile in (False, True):
        model = filled(LoRAModel(mlp()))
        if compile:
            model.compile(backend="aot_eager")
        losses.append([step.loss for step in training_steps(model, batches, torch.nn.functional.mse_loss, steps=4)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
