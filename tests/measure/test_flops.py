"""How much a training step computes: the prediction from shapes against torch's counter."""

from lora_teach import LoRAModel
from lora_teach.loop.batches import loss_of
from lora_teach.measure.costs import QUERY_VALUE, SETTINGS, compare_flops, new_base, random_batch
from lora_teach.measure.flops import count_flops, layer_flops, predict_flops
from tests.measure.costs import CASES

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("name", "batch_size", "seq_len"), CASES)
def test_a_step_computes_what_was_predicted(bases, name, batch_size, seq_len, setting):
    predicted, (forward, backward) = compare_flops(bases(name), batch_size, seq_len, setting)
    assert predicted.forward == pytest.approx(forward, rel=0.001)
    assert predicted.backward == pytest.approx(backward, rel=0.001)
    assert predicted.total == predicted.forward + predicted.backward


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(
    "targets", [["o_proj"], ["down_proj"], ["v_proj"], ["lm_head"], ["layers.1.mlp.up_proj"]], ids=str
)
def test_wherever_the_adapters_are_the_counter_agrees(targets, checkpointing):
    base = new_base("tiny Llama")
    predicted = predict_flops(base, 2, 24, rank=3, target_modules=targets, checkpointing=checkpointing)
    batch, _ = random_batch(base, 2, 24)
    forward, backward = count_flops(LoRAModel(base, rank=3, target_modules=targets), batch, checkpointing=checkpointing)
    assert (predicted.forward, predicted.backward) == (forward, backward)


# One layer: 3 N² against 2 N² + 6 N R.


def counted(model, x):
    with FlopCounterMode(display=False) as counter:
        model(x).sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("rank", [None, 1, 16])
@pytest.mark.parametrize(("inner", "outer"), [(64, 64), (48, 80)])
def test_one_layer_by_formula_and_by_counter(inner, outer, rank, first):
    tokens, layer = 7, nn.Linear(inner, outer, bias=False)
    model = layer if rank is None else LoRAModel(layer_in_a_model(layer), rank=rank)
    by_counter = counted(model, torch.zeros(tokens, inner, requires_grad=not first))
    assert tokens * layer_flops(inner, outer, rank, first=first) == by_counter


def layer_in_a_model(layer):
    return nn.Sequential(layer)


def test_the_ratio_of_lora_without_regret_is_a_little_over_two_thirds():
    N, R = 4096, 32
    full, lora = layer_flops(N, N), layer_flops(N, N, rank=R)
    assert full == 2 * 3 * N**2 and lora == 2 * (2 * N**2 + 6 * N * R)
    assert 2 / 3 < lora / full < 0.69


def test_a_first_layer_saves_the_product_towards_its_input():
    assert layer_flops(64, 64) - layer_flops(64, 64, first=True) == 2 * 64 * 64
    assert layer_flops(64, 64, rank=4) - layer_flops(64, 64, rank=4, first=True) == 2 * 64 * 64 + 2 * 64 * 4


# The whole model.


def test_the_first_adapted_block_sends_no_gradient_to_what_lies_before():
    base = new_base("tiny Llama")
    per_block = []
    for count in (1, 2, 3):
        config = transformers.LlamaConfig(**base.config.to_diff_dict() | {"num_hidden_layers": count})
        model = transformers.LlamaForCausalLM(config)
        per_block.append(predict_flops(model, 2, 24, rank=4, target_modules=QUERY_VALUE))
    first = per_block[1].to_inputs - per_block[0].to_inputs
    tokens, block, head = 2 * 24, base.model.layers[0], 2 * 48 * 100
    assert first == per_block[2].to_inputs - per_block[1].to_inputs  # the second block and the third are alike
    saved = first - (per_block[0].to_inputs - tokens * head)
    attention, rank = block.self_attn, 4
    towards_input = sum(layer.weight.numel() for layer in (attention.q_proj, attention.k_proj, attention.v_proj))
    # Not computed in the first block: the products to its input, through q, k, v and the two A, and the gradient of k.
    assert saved == 2 * tokens * (towards_input + 2 * 48 * rank) + 2 * tokens * 24 * 48
    full = [predict_flops(base, 2, 24), predict_flops(base, 2, 24, rank=4)]
    assert full[1].total < full[0].total and full[1].forward > full[0].forward


def test_full_fine_tuning_spends_two_thirds_on_the_backward():
    predicted = predict_flops(new_base("tiny Llama"), 2, 24)
    angles = 2 * 6 * 24  # positions times half a head's width: older transformers multiply them, without a backward
    assert 2 * predicted.forward - predicted.backward in (0, 2 * angles)


def test_checkpointing_adds_less_than_one_forward():
    base = new_base("tiny Llama")
    plain, again = (predict_flops(base, 2, 24, rank=4, checkpointing=value) for value in (False, True))
    assert (again.forward, again.to_inputs, again.to_weights) == (plain.forward, plain.to_inputs, plain.to_weights)
    assert plain.recomputed == 0 and 0.5 * plain.forward < again.recomputed < plain.forward


def test_attention_grows_with_the_square_of_the_tokens():
    base = new_base("tiny Llama")
    one, two = (predict_flops(base, 1, seq).forward for seq in (16, 32))
    assert two - 2 * one == 3 * (2 * 2 * 48) * (32**2 - 2 * 16**2)  # layers, two products, width


def test_the_counter_sees_no_fused_attention_of_a_cpu():
    base = new_base("tiny Llama")
    batch, _ = random_batch(base, 2, 24)
    with FlopCounterMode(display=False) as counter:
        loss_of(base, batch, None)
    forward, _ = count_flops(base, batch)
    assert forward - counter.get_total_flops() == 3 * 2 * (2 * 2 * 24**2 * 48)


def test_counting_leaves_the_model_as_it_was():
    base = new_base("NameGPT")
    model = LoRAModel(base, rank=2)
    batch, loss_fn = random_batch(base, 2, 5)
    count_flops(model, batch, loss_fn, checkpointing=True)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all("forward" not in vars(module) for module in model.modules())
    with pytest.raises(ValueError, match="no parameter requires a gradient"):
        count_flops(model.remove().requires_grad_(False), batch, loss_fn)


class Attention(nn.Module):
    """Queries in four heads that share one head of keys and values, given to torch as they are, or repeated."""

    def __init__(self, native):
        super().__init__()
        self.embedding, self.head, self.native = nn.Embedding(11, 32), nn.Linear(32, 11), native
        self.q_proj, self.k_proj, self.v_proj = nn.Linear(32, 32), nn.Linear(32, 8), nn.Linear(32, 8)

    def forward(self, tokens):
        x = self.embedding(tokens)
        q, k, v = (f(x).unflatten(-1, (-1, 8)).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        if not self.native:
            k, v = (side.repeat_interleave(4, 1) for side in (k, v))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.native)
        return self.head(y.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("rank", [None, 2])
def test_keys_and_values_that_queries_share_cost_as_if_repeated(rank):
    repeated, native = (predict_flops(Attention(native), 2, 16, rank=rank).total for native in (False, True))
    assert native == repeated > 0
