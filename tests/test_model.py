"""Adapters: adding, choosing, mixing, switching off, removing, and what a model tells of itself."""

import asyncio
import re

from lora_teach import LoRAConfig, LoRAModel
from tests.toy import TinyGPT, bits, filled, mlp, numbers, picture, same_bits, same_picture, tokens

import pytest
import torch
from torch import nn


@pytest.fixture
def model():
    """Two adapters over an MLP, the first one active."""
    model = LoRAModel(mlp(), alpha=6)
    model.add_adapter("b", rank=2)
    return filled(model)


def dense(model, mixture, x):
    """What the mixture must give, by weights that are added up in the open."""
    weights = {}
    for name in ("0", "2"):
        weight = model.base_model.get_submodule(name).weight.detach().clone()
        for adapter, share in mixture.items():
            weight += share * model.adapters[adapter][name].delta_weight().detach()
        weights[name] = weight
    hidden = nn.functional.linear(x, weights["0"], model.base_model[0].bias).relu()
    return nn.functional.linear(hidden, weights["2"], model.base_model[2].bias)


# Choosing and mixing.


@pytest.mark.parametrize(
    "choice", ["default", "b", None, {}, {"b": 1}, {"b": 0.5}, {"default": 0.7, "b": 0.3}, {"default": -1, "b": 2.5},
               {"default": 0.0}, {"b": 1.0, "default": 1.0}], ids=str
)  # fmt: skip
def test_the_output_gains_the_weighted_sum_of_the_updates(model, choice):
    x = numbers(5, 6)
    mixture = {choice: 1.0} if isinstance(choice, str) else choice or {}
    model.set_adapter(choice)
    assert model.active_adapters == mixture
    assert torch.allclose(model(x), dense(model, mixture, x), atol=1e-5)


def test_switching_back_gives_the_same_bits(model):
    x = numbers(5, 6)
    first = model(x)
    for choice in ("b", None, {"default": 0.5, "b": 0.5}, "default"):
        model.set_adapter(choice)
    assert torch.equal(model(x), first)


def test_no_adapter_is_the_base_to_the_last_bit(model):
    x = numbers(5, 6)
    model.set_adapter(None)
    assert torch.equal(model(x), mlp()(x))


def test_a_weight_of_one_alone_is_the_adapter_to_the_last_bit(model):
    x = numbers(5, 6)
    model.set_adapter("b")
    alone = model(x)
    model.set_adapter({"b": 1.0})
    assert torch.equal(model(x), alone)


def test_mixtures_train_every_part(model):
    model.set_adapter({"default": 0.5, "b": 0.5})
    model(numbers(5, 6)).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.adapters.parameters())


def test_a_learner_may_pass_a_mixture_and_go_on_changing_it(model):
    mixture = {"b": 0.5}
    model.set_adapter(mixture)
    mixture["b"] = 7.0
    assert model.active_adapters == {"b": 0.5}
    model.active_adapters["b"] = 7.0
    assert model.active_adapters == {"b": 0.5}


def test_lora_layers_is_the_single_active_adapters_and_else_an_error(model):
    assert model.lora_layers is model.adapters["default"]
    model.set_adapter({"b": 0.5})
    assert model.lora_layers is model.adapters["b"]
    for choice in (None, {"default": 0.5, "b": 0.5}):
        model.set_adapter(choice)
        with pytest.raises(RuntimeError, match=r"model.adapters\[name\]"):
            model.lora_layers  # noqa: B018


def test_lora_layers_parameters_is_what_the_optimiser_wants(model):
    assert [id(p) for p in model.lora_layers.parameters()] == [id(p) for p in model.trainable_parameters()]


def test_adapters_may_adapt_different_layers(model):
    model.add_adapter("last", target_modules=["2"])
    filled(model)
    x = numbers(3, 6)
    model.set_adapter("last")
    hidden = mlp()[:2](x)
    expected = mlp()[2](hidden) + model.lora_layers["2"](hidden)
    assert torch.allclose(model(x), expected, atol=1e-6)
    model.set_adapter({"default": 1.0, "last": 1.0})
    with model.merged():
        merged = model(x)
    assert torch.allclose(merged, model(x), atol=1e-5)


# Adding and deleting.


def test_a_new_adapter_is_inactive_and_changes_nothing(model):
    x = numbers(3, 6)
    before = model(x)
    model.add_adapter("c", LoRAConfig(rank=3, alpha=1))
    assert model.adapter_names == ["default", "b", "c"]
    assert model.active_adapters == {"default": 1.0}
    assert torch.equal(model(x), before)
    model.set_adapter("c")
    assert torch.equal(model(x), mlp()(x))


def test_deleting_the_active_adapter_leaves_the_others_of_the_mixture(model):
    x = numbers(3, 6)
    model.set_adapter({"default": 0.5, "b": 2.0})
    model.delete_adapter("default")
    assert model.active_adapters == {"b": 2.0}
    assert torch.allclose(model(x), dense(model, {"b": 2.0}, x), atol=1e-5)
    model.delete_adapter("b")
    assert (model.active_adapters, model.adapter_names) == ({}, [])
    assert torch.equal(model(x), mlp()(x))
    model.add_adapter("b", rank=1)
    model.set_adapter("b")
    assert len(model.trainable_parameters()) == 4


def test_a_deleted_adapter_leaves_nothing_in_the_state_dict_and_no_hook_that_nobody_needs(model):
    model.add_adapter("last", target_modules=["2"])
    model.delete_adapter("default")
    model.delete_adapter("b")
    assert not any("default" in key or ".b." in key for key in model.state_dict())
    assert not model.base_model[0]._forward_hooks
    assert len(model.base_model[2]._forward_hooks) == 1
    model.add_adapter("default")
    assert len(model.base_model[0]._forward_hooks) == 1


def test_rank_and_alpha_patterns_set_single_layers():
    model = LoRAModel(
        TinyGPT(), rank=2, alpha=4, rank_pattern={"v_proj": 3, r"blocks\.1\.q_proj": 5}, alpha_pattern={"0.v_proj": 9}
    )
    assert {name: (layer.rank, layer.alpha) for name, layer in model.lora_layers.items()} == {
        "blocks.0.q_proj": (2, 4),
        "blocks.0.v_proj": (3, 9),
        "blocks.1.q_proj": (5, 4),
        "blocks.1.v_proj": (3, 4),
    }


# Switching off.


def test_disabled_is_the_base_to_the_last_bit_and_restores_what_it_found(model):
    x = numbers(3, 6)
    for choice in ("b", {"default": 0.3, "b": 0.7}, None):
        model.set_adapter(choice)
        before, output = picture(model), model(x)
        with model.disabled():
            assert torch.equal(model(x), mlp()(x))
            with model.disabled():
                assert torch.equal(model(x), mlp()(x))
            assert torch.equal(model(x), mlp()(x))
        assert same_picture(before, picture(model))
        assert torch.equal(model(x), output)


def test_disabled_while_merged_gives_the_base_and_merges_again(model):
    x = numbers(3, 6)
    model.merge()
    before, output = picture(model), model(x)
    with model.disabled():
        assert not model.is_merged
        assert torch.equal(model(x), mlp()(x))
        with model.disabled():
            assert torch.equal(model(x), mlp()(x))
    assert same_picture(before, picture(model))
    assert torch.equal(model(x), output)


def test_disabled_restores_after_an_error(model):
    before = picture(model)
    with pytest.raises(ZeroDivisionError), model.disabled():
        1 / 0  # noqa: B018
    assert same_picture(before, picture(model))


@pytest.mark.parametrize(
    ("change", "verb"),
    [
        (lambda m: m.set_adapter("b"), "set_adapter('b')"),
        (lambda m: m.add_adapter("c"), "add_adapter('c')"),
        (lambda m: m.delete_adapter("b"), "delete_adapter('b')"),
        (lambda m: m.load_adapter("nowhere", "c"), "load_adapter('nowhere')"),
        (lambda m: m.set_alpha(2), "set_alpha(2)"),
        (lambda m: m.merge(), "merge()"),
        (lambda m: m.merged().__enter__(), "merge()"),
        (lambda m: m.remove(), "remove()"),
    ],
)
def test_within_disabled_nothing_can_be_changed(model, change, verb):
    with model.disabled():
        before = picture(model)
        with pytest.raises(RuntimeError, match=re.escape(f"{verb}: the model is inside disabled(). Leave")):
            change(model)
        assert same_picture(before, picture(model))


def test_awaiting_inside_disabled_is_refused_where_it_can_be_seen(model):
    x = numbers(3, 6)

    async def compare():
        with model.disabled():
            await asyncio.sleep(0)
            return model(x)

    async def switch():
        model.set_adapter("b")

    async def both():
        return await asyncio.gather(compare(), switch(), return_exceptions=True)

    off, error = asyncio.run(both())
    assert torch.equal(off, mlp()(x))
    assert isinstance(error, RuntimeError)
    assert "never await" in str(error)
    assert model.active_adapters == {"default": 1.0}


def test_two_disabled_blocks_that_end_in_any_order_leave_the_model_on(model):
    x = numbers(3, 6)
    output = model(x)
    first, second = model.disabled(), model.disabled()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert torch.equal(model(x), mlp()(x))
    second.__exit__(None, None, None)
    assert torch.equal(model(x), output)
    model.set_adapter("b")


# Modules that are trained whole.


@pytest.fixture
def with_head():
    model = LoRAModel(TinyGPT(tied=False), target_modules=["q_proj"], modules_to_save=["head"])
    return filled(model)


def test_modules_to_save_are_trainable_copies_that_take_the_modules_place(with_head):
    base, [name] = TinyGPT(tied=False), with_head.saved_modules["default"]
    copy = with_head.saved_modules["default"][name]
    assert name == "head"
    assert copy is not with_head.base_model.head
    assert all(p.requires_grad for p in copy.parameters())
    fresh = LoRAModel(TinyGPT(tied=False), target_modules=["q_proj"], modules_to_save=["head"]).eval()
    assert torch.equal(fresh(tokens()), base.eval()(tokens()))
    with_head.eval()
    hidden = []
    with_head.base_model.head.register_forward_pre_hook(lambda module, args: hidden.append(args[0]))
    output = with_head(tokens())
    assert torch.equal(output, nn.functional.linear(hidden[0], copy.weight))
    with with_head.disabled():
        assert torch.equal(with_head(tokens()), base(tokens()))
    output.sum().backward()
    assert copy.weight.grad is not None
    assert with_head.base_model.head.weight.grad is None


def test_trainable_parameters_has_saved_modules_and_lora_layers_has_not(with_head):
    copy = with_head.saved_modules["default"]["head"].weight
    assert any(p is copy for p in with_head.trainable_parameters())
    assert not any(p is copy for p in with_head.lora_layers.parameters())


def test_each_adapter_has_its_own_copy_made_without_hooks(with_head):
    with_head.add_adapter("b", target_modules=["q_proj"], modules_to_save=["head"])
    copies = [with_head.saved_modules[name]["head"] for name in ("default", "b")]
    assert copies[0].weight is not copies[1].weight
    assert torch.equal(copies[1].weight, with_head.base_model.head.weight)
    assert not any(copy._forward_hooks for copy in copies)
    with_head.eval()
    with_head.set_adapter("b")
    assert torch.equal(with_head(tokens()), TinyGPT(tied=False).eval()(tokens()))
    assert not copies[0].weight.requires_grad
    assert copies[1].weight.requires_grad


def test_a_whole_block_can_be_saved_and_follows_the_mode():
    model = LoRAModel(TinyGPT(), target_modules=["blocks.0.q_proj"], modules_to_save=["blocks.1"]).eval()
    assert torch.equal(model(tokens()), model(tokens()))
    model.train()
    assert not torch.equal(model(tokens()), model(tokens()))
    assert not any("blocks.1.q_proj" in name for name in model.lora_layers)


def test_a_saved_module_follows_the_mode_of_its_module_alone():
    model = LoRAModel(TinyGPT(), target_modules=["blocks.0.q_proj"], modules_to_save=["blocks.1"]).eval()
    model.base_model.blocks[1].train()
    assert not torch.equal(model(tokens()), model(tokens()))
    model.base_model.blocks[1].eval()
    assert torch.equal(model(tokens()), model(tokens()))


def test_a_saved_module_gets_all_arguments_of_the_call():
    class Scale(nn.Linear):
        def forward(self, x, by=1.0):
            return super().forward(x) * by

    class Base(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(6, 6), Scale(6, 4)

        def forward(self, x):
            return self.head(self.body(x), by=3.0)

    base, x = Base(), numbers(3, 6)
    expected = base(x)
    assert torch.equal(LoRAModel(base, target_modules=["body"], modules_to_save=["head"])(x), expected)


def test_mixing_an_adapter_with_saved_modules_is_refused(with_head):
    with_head.add_adapter("b", target_modules=["q_proj"])
    before = picture(with_head)
    for mixture in ({"default": 0.5}, {"default": 1.0, "b": 1.0}):
        with pytest.raises(ValueError, match="its own head.*Activate it alone"):
            with_head.set_adapter(mixture)
    assert same_picture(before, picture(with_head))
    with_head.set_adapter({"b": 0.5})


def test_nesting_saved_modules_and_adapted_layers_is_refused_for_all_adapters_together(with_head):
    before = picture(with_head)
    for options in ({"modules_to_save": ["blocks.0"]}, {"target_modules": ["head"]}):
        with pytest.raises(ValueError, match="modules_to_save holds"):
            with_head.add_adapter("b", **options)
    assert same_picture(before, picture(with_head))


class TwoNames(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.a, self.b = nn.Linear(6, 6), nn.Module(), nn.Module()
        self.a.head = self.b.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.b.head(self.body(x))


@pytest.mark.parametrize("wanted", [["head"], ["a.head"]], ids=str)
def test_a_saved_module_under_two_names_is_copied_once_and_not_adapted_besides(wanted):
    model = LoRAModel(TwoNames(), modules_to_save=wanted)
    assert list(model.saved_modules["default"]) == ["a.head"]
    assert list(model.lora_layers) == ["body"]
    assert len(model.base_model.a.head._forward_hooks) == 1
    model(numbers(3, 6)).sum().backward()
    assert all(p.grad is not None for p in model.trainable_parameters())


# Removing.


def test_remove_returns_the_base_and_leaves_no_trace():
    base = TinyGPT()
    base.embedding.weight.requires_grad_(False)
    base.blocks[0].eval()
    base.blocks[1].q_proj.register_forward_hook(lambda module, args, output: None)
    before = picture(base)
    model = filled(LoRAModel(base, modules_to_save=["norm"]))
    model(tokens()).sum().backward()
    assert model.remove() is base
    after = picture(base)
    after["modes"] = before["modes"]
    assert same_picture(before, after)
    assert all(p.grad is None for p in base.parameters())
    assert model.adapter_names == []
    assert torch.equal(model.eval()(tokens()), base(tokens()))
    LoRAModel(base)


def test_the_base_keeps_its_modes():
    base = TinyGPT()
    base.blocks[0].eval()
    before = picture(base)["modes"]
    LoRAModel(base).remove()
    assert picture(base)["modes"] == before
    assert LoRAModel(TinyGPT().eval()).training is False


def test_a_parameter_that_the_base_gained_under_the_overlay_keeps_its_flag_when_it_is_removed():
    base = mlp()
    model = LoRAModel(base)
    base[0].gain, base[2].gain = (nn.Parameter(torch.ones(1), requires_grad=flag) for flag in (True, False))
    model.remove()
    assert {name: p.requires_grad for name, p in base.named_parameters()} == {
        "0.weight": True, "0.bias": True, "0.gain": True, "2.weight": True, "2.bias": True, "2.gain": False
    }  # fmt: skip


def test_remove_with_merge_keeps_the_merged_weights_and_the_saved_modules(with_head):
    with_head.eval()
    output = with_head(tokens())
    keys = list(with_head.base_model.state_dict())
    base = with_head.remove(merge=True)
    assert torch.allclose(base(tokens()), output, atol=1e-5)
    assert list(base.state_dict()) == keys
    assert all(p.requires_grad for p in base.parameters())
    assert not with_head.is_merged


@pytest.mark.parametrize("merge", [False, True])
def test_remove_works_on_a_merged_model(model, merge):
    x = numbers(3, 6)
    output = model(x)
    model.merge()
    base = model.remove(merge=merge)
    assert torch.allclose(base(x), output if merge else mlp()(x), atol=1e-5)
    assert same_bits(bits(base), bits(mlp())) is not merge


def test_removing_twice_does_nothing_the_second_time(model):
    base = model.remove()
    other = LoRAModel(base)
    before = picture(other)
    assert model.remove() is base
    assert same_picture(before, picture(other))


def test_a_removed_model_takes_no_new_adapter(model):
    base = model.remove()
    before = picture(base)
    with pytest.raises(RuntimeError, match=r"removed.*LoRAModel\(base_model\)"):
        model.add_adapter("c")
    assert same_picture(before, picture(base))


# Alpha, counting, printing.


def test_set_alpha_scales_the_active_adapters_only(model):
    x = numbers(3, 6)
    model.set_alpha(3)
    assert {layer.scaling for layer in model.adapters["default"].values()} == {0.75}
    assert {layer.scaling for layer in model.adapters["b"].values()} == {1.0}
    assert torch.allclose(model(x), dense(model, {"default": 1.0}, x), atol=1e-6)
    model.set_alpha(0)
    assert torch.equal(model(x), mlp()(x))


def test_a_layer_without_set_alpha_is_named_and_no_alpha_moves(model):
    model.lora_layers["2"] = nn.Linear(8, 4)
    with pytest.raises(TypeError, match=r"Linear has no set_alpha\(alpha\). Give your layer one."):
        model.set_alpha(3)
    assert model.lora_layers["0"].alpha == 6


def test_count_is_trainable_and_total(model):
    base, default, b = 6 * 8 + 8 + 8 * 4 + 4, 4 * (6 + 8) + 4 * (8 + 4), 2 * (6 + 8) + 2 * (8 + 4)
    assert model.count() == (default, base + default + b)
    model.set_adapter("b")
    assert model.count() == (b, base + default + b)
    model.set_adapter(None)
    assert model.count() == (0, base + default + b)


def test_what_is_left_out_is_reported(capsys):
    model = LoRAModel(TinyGPT())
    model.print_trainable_parameters()
    printed = capsys.readouterr().out
    trainable, total = model.count()
    assert f"{trainable:,} of {total:,} parameters train ({100 * trainable / total:.2f}%)" in printed
    assert "in 4 adapted layers" in printed
    assert "Not adapted: head: its weight is tied to the embedding" in printed


def test_layers_too_small_for_the_rank_are_left_out_and_reported(capsys):
    model = LoRAModel(mlp(), rank=5)
    assert list(model.lora_layers) == ["0"]
    assert "rank=5 is too large for Linear(8 → 4)" in model.left_out["default"]["2"]
    model.print_trainable_parameters()
    assert "rank=5 is too large" in capsys.readouterr().out


def test_several_overlays_on_different_bases_do_not_meet(model):
    other = filled(LoRAModel(mlp()), seed=9)
    x = numbers(3, 6)
    first, second = model(x), other(x)
    other.set_adapter(None)
    assert torch.equal(model(x), first)
    model.set_adapter(None)
    other.set_adapter("default")
    assert torch.equal(other(x), second)


def test_a_model_may_be_part_of_a_larger_one(model):
    whole = nn.Sequential(model, nn.Linear(4, 2))
    whole.eval()
    assert not model.base_model.training
    whole(numbers(3, 6)).sum().backward()
    assert len(whole.state_dict()) == len(model.state_dict()) + 2


def test_a_model_without_a_base_yet_lacks_attributes_and_says_so():
    unbuilt = LoRAModel.__new__(LoRAModel)  # as unpickling makes it
    nn.Module.__init__(unbuilt)
    with pytest.raises(AttributeError, match="base_model"):
        unbuilt.generate  # noqa: B018


def test_learnable_scaling_trains_for_each_layer():
    model = filled(LoRAModel(mlp(), learnable_scaling=True))
    model(numbers(3, 6)).sum().backward()
    assert all(layer.scaling.grad.shape == (1,) for layer in model.lora_layers.values())
    model.set_adapter({"default": 0.5})
    model(numbers(3, 6)).sum().backward()


def test_scaling_by_hand_on_one_layer_counts():
    model = filled(LoRAModel(mlp()))
    x = numbers(3, 6)
    for layer in model.lora_layers.values():
        layer.scaling = 0.0
    assert torch.allclose(model(x), mlp()(x))
    layer = model.lora_layers["2"]
    layer.scaling = nn.Parameter(torch.ones(1))
    assert any(p is layer.scaling for p in model.trainable_parameters())
    hidden = mlp()[:2](x)
    assert torch.allclose(model(x), mlp()[2](hidden) + hidden @ layer.lora_A @ layer.lora_B, atol=1e-6)
