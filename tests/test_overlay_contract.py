"""LoRA is an overlay: the base keeps its modules, and everything that PyTorch does with modules goes on working."""

import copy
import io

from lora_teach import LoRALayer, LoRAModel
from lora_teach.model import Hook
from tests.toy import TinyGPT, bits, filled, fixed, mlp, numbers, picture, same_bits, same_picture, tokens

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

HALF = [torch.bfloat16, torch.float16]


def hooks_of(model):
    return {
        name: [hook for hook in m._forward_hooks.values() if isinstance(hook, Hook)]
        for name, m in model.base_model.named_modules()
        if m._forward_hooks
    }


def update_by_hand(model, name, x):
    layer = model.lora_layers[name]
    return layer.scaling * (x @ layer.lora_A @ layer.lora_B)


# The base.


def test_each_adapted_module_keeps_its_class_its_place_and_its_parameters():
    base = TinyGPT()
    before = {name: (type(m), id(m)) for name, m in base.named_modules()}
    parameters = {name: id(p) for name, p in base.named_parameters()}
    keys = list(base.state_dict())
    model = LoRAModel(base)
    assert model.base_model is base
    assert {name: (type(m), id(m)) for name, m in base.named_modules()} == before
    assert {name: id(p) for name, p in base.named_parameters()} == parameters
    assert list(base.state_dict()) == keys
    assert base.head.weight is base.embedding.weight
    assert [key for key in model.state_dict() if key.startswith("base_model.")] == [f"base_model.{k}" for k in keys]


def test_construction_freezes_the_base():
    model = LoRAModel(TinyGPT())
    assert not any(p.requires_grad for p in model.base_model.parameters())
    assert all(p.requires_grad for p in model.lora_layers.parameters())


def test_what_the_model_lacks_is_asked_of_the_base():
    model = LoRAModel(TinyGPT())
    assert model.blocks is model.base_model.blocks
    with pytest.raises(AttributeError, match="TinyGPT.*'nothing'"):
        model.nothing  # noqa: B018


# One permanent hook.


def test_one_permanent_hook_a_module_whatever_is_switched():
    model = filled(LoRAModel(TinyGPT()))
    first = hooks_of(model)
    assert list(first) == list(model.lora_layers)
    assert all(len(found) == 1 for found in first.values())
    model.add_adapter("b", rank=2)
    model.set_adapter({"default": 0.5, "b": 0.5})
    with model.disabled():
        pass
    with model.merged():
        pass
    model.set_adapter(None)
    model.delete_adapter("b")
    assert hooks_of(model) == first


def test_modules_may_be_called_with_keywords():
    class Keyword(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(6, 4)

        def forward(self, x):
            return self.inner(input=x)

    base = fixed(Keyword())
    model = filled(LoRAModel(base))
    x = numbers(3, 6)
    with model.disabled():
        plain = model(x)
    assert torch.allclose(model(x), plain + update_by_hand(model, "inner", x), atol=1e-6)
    assert torch.allclose(base.inner(input=x), base.inner(x))


@pytest.mark.parametrize("shape", [(6,), (0, 6), (2, 0, 6), (2, 3, 6), (2, 3, 5, 6)], ids=str)
def test_inputs_of_any_shape(shape):
    model = filled(LoRAModel(fixed(nn.Linear(6, 4)), alpha=3))
    x = numbers(*shape)
    expected = torch.nn.functional.linear(x, model.base_model.weight, model.base_model.bias)
    assert torch.allclose(model(x), expected + update_by_hand(model, "", x), atol=1e-6)
    model(x).sum().backward()
    assert model.lora_layers[""].lora_A.grad.shape == (6, 4)


def test_inputs_that_are_not_contiguous():
    model = filled(LoRAModel(mlp()))
    x = numbers(6, 5, 3).transpose(0, 2)
    assert torch.allclose(model(x), model(x.contiguous()), atol=1e-6)
    model(x.requires_grad_()).sum().backward()
    assert x.grad.shape == x.shape


def test_sparse_inputs():
    model = filled(LoRAModel(fixed(nn.Linear(6, 4))))
    x = numbers(3, 6).relu()
    assert torch.allclose(model(x.to_sparse()), model(x), atol=1e-6)


def encoder(layers=3):
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    model = fixed(nn.TransformerEncoder(layer, layers)).eval()
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[0, 3:] = padding[1, 4:] = True
    return model, numbers(3, 5, 16), padding


def by_hand(model, x, padding):
    """The encoder written out, so that no fast path of PyTorch can be taken; each linear layer with its update."""

    def linear(module, name, x):
        return nn.functional.linear(x, module.weight, module.bias) + update_by_hand(model, name, x)

    for index, layer in enumerate(model.base_model.layers):
        attended = nn.functional.multi_head_attention_forward(
            *[x.transpose(0, 1)] * 3, 16, 2, layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias,
            None, None, False, 0.0, layer.self_attn.out_proj.weight, layer.self_attn.out_proj.bias,
            training=False, key_padding_mask=padding, need_weights=False,
        )[0].transpose(0, 1)  # fmt: skip
        x = layer.norm1(x + attended)
        hidden = linear(layer.linear1, f"layers.{index}.linear1", x).relu()
        x = layer.norm2(x + linear(layer.linear2, f"layers.{index}.linear2", hidden))
    return x


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"learnable_scaling": True}, {"target_modules": ["layers.1.linear1"]}], ids=str
)
def test_padding_masks_through_a_transformer_encoder(gradients, training, options):
    base, x, padding = encoder()
    real = ~padding
    model = filled(LoRAModel(base, **options)).train(training)
    with torch.set_grad_enabled(gradients):
        output = model(x, src_key_padding_mask=padding)
        model.set_adapter({"default": 0.5})
        half = model(src=x, src_key_padding_mask=padding)
        model.set_adapter("default")
    if not options.get("target_modules"):
        assert torch.allclose(output[real], by_hand(model, x, padding)[real], atol=1e-5)
    assert not torch.allclose(output[real], half[real], atol=1e-3)
    if gradients:
        output[real].sum().backward()
        assert all(p.grad.abs().sum() > 0 for p in model.trainable_parameters())


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_an_encoder_that_is_switched_off_gives_its_old_output():
    base, x, padding = encoder()
    with torch.no_grad():
        fast, fast_unmasked = base(x, src_key_padding_mask=padding), base(x)
    base.requires_grad_(False)  # PyTorch picks its kernels by what needs a gradient, so both sides are frozen
    dense = base(x.clone().requires_grad_(), src_key_padding_mask=padding)
    model = filled(LoRAModel(base))
    with model.disabled():
        assert torch.equal(model(x, src_key_padding_mask=padding), dense)
        with torch.no_grad():
            # The fused kernel is not used beside hooks, so these are equal to rounding.
            assert torch.allclose(model(x, src_key_padding_mask=padding), fast, atol=1e-5)
            assert torch.allclose(model(x), fast_unmasked, atol=1e-5)
    model.remove()
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in base.modules())
    with torch.no_grad():
        assert torch.equal(base(x, src_key_padding_mask=padding), fast)


def test_out_proj_of_multihead_attention_is_left_out_and_refused_by_name():
    base = nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2), "linear": nn.Linear(8, 8)})
    model = LoRAModel(base)
    assert list(model.lora_layers) == ["linear"]
    assert "never calls it" in model.left_out["default"]["attention.out_proj"]
    model.remove()
    with pytest.raises(ValueError, match="'attention.out_proj'.*never calls it.*Leave it out"):
        LoRAModel(base, target_modules=["out_proj"])


# The layer is looked up and called at that moment.


def test_a_learners_own_forward_counts():
    class Mine(LoRALayer):
        def forward(self, x):  # the article's signature
            return 7.0 + 0 * (x @ self.lora_A @ self.lora_B)

    model = LoRAModel(mlp())
    x = numbers(3, 6)
    plain = model(x)
    model.lora_layers["2"] = Mine(8, 4)
    assert torch.equal(model(x), plain + 7)


@pytest.mark.parametrize("dtype", HALF)
def test_a_layer_of_ones_own_leaves_the_outputs_dtype_alone(dtype):
    model = LoRAModel(mlp(dtype))
    x = numbers(3, 6, dtype=dtype)
    plain = model(x)
    model.lora_layers["2"].forward = lambda x: torch.full((4,), 0.5)  # float32
    assert model(x).dtype == dtype
    assert torch.equal(model(x), plain + 0.5)


def test_a_forward_patched_onto_one_layer_counts():
    model = LoRAModel(mlp())
    x = numbers(3, 6)
    plain = model(x)
    model.lora_layers["2"].forward = lambda x: torch.ones(())
    assert torch.equal(model(x), plain + 1)


def test_a_hook_on_the_layer_counts():
    model = filled(LoRAModel(mlp()))
    x, seen = numbers(3, 6), []
    handle = model.lora_layers["2"].register_forward_hook(lambda module, args, output: seen.append(args[0].shape))
    model(x)
    assert seen == [(3, 8)]
    handle.remove()
    with model.disabled():
        plain = model(x)
    model.lora_layers["0"].register_forward_hook(lambda module, args, output: output * 0)
    with torch.no_grad():
        expected = model.base_model[2].bias + update_by_hand(model, "2", torch.zeros(3, 8))
    assert torch.allclose(model(x), expected.expand(3, 4), atol=1e-6)
    assert not torch.equal(plain, expected.expand(3, 4))


class Parallel(nn.Module):
    """A learner's layer that is no LoRALayer, and whose forward has a local called base_output."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 4)

    def forward(self, x):
        base_output = self.inner(x)
        return base_output * 2


def test_a_replaced_layer_takes_part_and_trains():
    model = LoRAModel(mlp())
    x = numbers(3, 6)
    with model.disabled():
        plain, hidden = model(x), model.base_model[:2](x)
    mine = fixed(Parallel())
    model.lora_layers["2"] = mine
    assert torch.allclose(model(x), plain + 2 * mine.inner(hidden), atol=1e-6)
    model(x).sum().backward()
    assert mine.inner.weight.grad.abs().sum() > 0
    assert {id(p) for p in mine.parameters()} <= {id(p) for p in model.trainable_parameters()}
    assert {id(p) for p in mine.parameters()} <= {id(p) for p in model.lora_layers.parameters()}
    with pytest.raises(ValueError, match="Parallel has no delta_weight"):
        model.merge()
    model.set_adapter({"default": 0.5})
    assert torch.allclose(model(x), plain + mine.inner(hidden), atol=1e-6)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch.compile looks at it
@pytest.mark.parametrize("swap", ["compiled", "scripted_wrapper", "sequential"])
def test_layers_of_any_kind_of_module_can_take_the_place(swap):
    model = filled(LoRAModel(mlp()))
    x, layer = numbers(3, 6), model.lora_layers["2"]
    expected = model(x)
    if swap == "compiled":
        model.lora_layers["2"] = torch.compile(layer, backend="eager")
    elif swap == "sequential":
        model.lora_layers["2"] = nn.Sequential(layer)
    else:
        wrapped = layer.forward
        layer.forward = lambda *args, **kwargs: wrapped(*args, **kwargs)
    assert torch.allclose(model(x), expected, atol=1e-6)


def test_dropout_follows_the_hooked_modules_training():
    model = filled(LoRAModel(mlp(), dropout=0.5))
    x = numbers(64, 6)
    model.eval()
    assert torch.equal(model(x), model(x))
    model.add_adapter("later", dropout=0.5)
    filled(model)
    model.set_adapter("later")
    assert torch.equal(model(x), model(x))
    model.base_model[2].train()  # one module alone
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


# Inactive adapters.


def test_inactive_adapters_require_no_gradients_and_get_their_own_flags_back():
    model = LoRAModel(TinyGPT())
    model.add_adapter("b")
    model.lora_layers["blocks.0.q_proj"].lora_A.requires_grad_(False)
    assert not any(p.requires_grad for p in model.adapters["b"].parameters())
    model.set_adapter("b")
    assert not any(p.requires_grad for p in model.adapters["default"].parameters())
    assert all(p.requires_grad for p in model.adapters["b"].parameters())
    model.set_adapter(None)
    assert not model.trainable_parameters()
    model.set_adapter({"default": 0.5, "b": 0.5})
    flags = {name: p.requires_grad for name, p in model.adapters.named_parameters()}
    assert [name for name, flag in flags.items() if not flag] == ["default.blocks.0.q_proj.lora_A"]


def test_disabled_and_merged_leave_the_flags_alone():
    model = LoRAModel(TinyGPT())
    before = picture(model)
    with model.disabled():
        pass
    with model.merged():
        pass
    assert same_picture(before, picture(model))


def test_inactive_adapters_get_no_gradients_under_ddp(tmp_path):
    if not torch.distributed.is_available():
        pytest.skip("torch.distributed is not built in")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = filled(LoRAModel(TinyGPT()))
        model.add_adapter("b")
        parallel = nn.parallel.DistributedDataParallel(model)
        for _ in range(2):  # the second forward would fail if a parameter had been left without a gradient
            parallel(tokens()).sum().backward()
        assert all(p.grad is None for p in model.adapters["b"].parameters())
        assert all(p.grad is not None for p in model.lora_layers.parameters())
    finally:
        torch.distributed.destroy_process_group()


# Dtypes.


@pytest.mark.parametrize("dtype", [*HALF, torch.float32, torch.float64])
def test_adapters_are_float32_over_half_precision_and_else_the_bases_dtype(dtype):
    base = mlp(dtype)
    model = filled(LoRAModel(base, learnable_scaling=True))
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    assert {p.dtype for p in model.lora_layers.parameters()} == {wanted}
    x = numbers(3, 6, dtype=dtype)
    output = model(x)
    assert output.dtype == dtype
    output.float().sum().backward()
    assert {p.grad.dtype for p in model.lora_layers.parameters()} == {wanted}
    exact = filled(LoRAModel(copy.deepcopy(model.remove()).double(), learnable_scaling=True))
    error = (output.double() - exact(x.double())).abs().max().item()
    assert error < {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 0.05)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("learnable", [False, True])
def test_autocast(dtype, learnable):
    model = filled(LoRAModel(mlp(), learnable_scaling=learnable))
    x = numbers(5, 6)
    exact = model(x)
    with torch.autocast("cpu", dtype=dtype):
        output = model(x)
        model.set_adapter({"default": 1.0 + 1e-9})
        mixed = model(x)
        model.set_adapter("default")
        with model.disabled():
            off = model(x)
    output.float().sum().backward()
    assert {p.grad.dtype for p in model.lora_layers.parameters()} == {torch.float32}
    base = model.remove()
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(off, base(x))
    assert output.dtype == mixed.dtype == dtype
    assert torch.allclose(output.float(), exact, atol=0.05)
    assert torch.allclose(mixed.float(), exact, atol=0.05)


def test_adapters_follow_the_models_dtype_and_device():
    model = LoRAModel(mlp()).to(torch.float64)
    assert model(numbers(3, 6, dtype=torch.float64)).dtype == torch.float64
    with torch.device("meta"):
        base = nn.Sequential(nn.Linear(600, 400))
    assert LoRAModel(base).lora_layers["0"].lora_A.is_meta


def test_a_model_on_the_meta_device_counts_without_memory():
    with torch.device("meta"):
        base = nn.Sequential(*[nn.Linear(12288, 12288) for _ in range(2)])
    model = LoRAModel(base, rank=4)
    assert model.count() == (2 * 4 * 2 * 12288, 2 * 4 * 2 * 12288 + 2 * (12288**2 + 12288))


# Sharing.


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.second = self.first

    def forward(self, x):
        return self.second(self.first(x))


def test_two_adapters_may_know_one_module_under_two_names():
    model = LoRAModel(fixed(Shared()), target_modules=["first"])
    model.add_adapter("b", target_modules=["second"])
    filled(model)
    before = bits(model.base_model)
    model.set_adapter({"default": 1.0, "b": 0.5})
    x = numbers(3, 6)
    output = model(x)
    with model.merged():
        assert torch.allclose(model(x), output, atol=1e-5)
    assert same_bits(before, bits(model.base_model))


@pytest.mark.parametrize("targets", [None, ["first", "second"], ["second"]], ids=str)
def test_a_module_under_two_names_is_adapted_once(targets):
    model = filled(LoRAModel(fixed(Shared()), target_modules=targets))
    [name] = model.lora_layers
    assert name == ("second" if targets == ["second"] else "first")
    assert len(model.base_model.first._forward_hooks) == 1
    x = numbers(3, 6)
    weight = model.base_model.first.weight + model.lora_layers[name].delta_weight()
    once = nn.functional.linear(x, weight, model.base_model.first.bias)
    expected = nn.functional.linear(once, weight, model.base_model.first.bias)
    assert torch.allclose(model(x), expected, atol=1e-5)
    before = bits(model.base_model)
    with model.merged():
        assert torch.allclose(model(x), expected, atol=1e-5)
    assert same_bits(before, bits(model.base_model))


def test_a_tied_head_stays_tied_and_is_left_out():
    base = TinyGPT()
    model = LoRAModel(base)
    assert "tied to the embedding 'embedding'" in model.left_out["default"]["head"]
    assert base.head.weight is base.embedding.weight
    untied = LoRAModel(TinyGPT(tied=False))
    assert "head" in untied.lora_layers


def test_a_bare_linear_can_be_the_base():
    base = fixed(nn.Linear(6, 4))
    model = filled(LoRAModel(base))
    x = numbers(3, 6)
    expected = nn.functional.linear(x, base.weight, base.bias) + update_by_hand(model, "", x)
    assert torch.allclose(model(x), expected, atol=1e-6)
    state = model.state_dict()
    LoRAModel(nn.Linear(6, 4)).load_state_dict(state)
    assert torch.equal(torch.func.functional_call(model, state, (x,)), model(x))
    with model.merged():
        assert torch.allclose(model(x), expected, atol=1e-6)
    assert torch.equal(copy.deepcopy(model)(x), model(x))
    assert model.remove() is base
    assert not base._forward_hooks


# Copies and files.


def test_a_deep_copy_is_independent():
    model = filled(LoRAModel(mlp()))
    model.add_adapter("b", rank=2)
    filled(model, seed=3)
    x = numbers(3, 6)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(x), model(x))
    before = picture(model)
    twin.set_adapter({"b": 0.5})
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    twin.merge()
    twin.unmerge()
    assert twin.remove() is not model.base_model
    assert same_picture(before, picture(model))
    assert not twin.base_model[0]._forward_hooks
    assert torch.equal(twin(x), twin.base_model(x))
    assert not torch.equal(model(x), twin(x))


def test_a_deep_copy_of_a_merged_model_unmerges_by_itself():
    model = filled(LoRAModel(mlp()))
    before = bits(model.base_model)
    model.merge()
    twin = copy.deepcopy(model)
    model.unmerge()
    assert twin.is_merged
    twin.unmerge()
    assert same_bits(before, bits(twin.base_model))
    assert same_bits(before, bits(model.base_model))


def test_a_deep_copy_of_the_base_is_a_working_copy_of_the_whole():
    model = filled(LoRAModel(mlp()))
    x = numbers(3, 6)
    base = copy.deepcopy(model.base_model)
    expected = model(x)
    assert torch.equal(base(x), expected)
    with torch.no_grad():
        model.lora_layers["2"].lora_B.zero_()
    assert torch.equal(base(x), expected)
    with pytest.raises(ValueError, match="overlay already"):
        LoRAModel(base)


def test_torch_save_and_load_give_the_same_model():
    model = filled(LoRAModel(TinyGPT()))
    model.add_adapter("b", rank=2, learnable_scaling=True)
    filled(model, seed=3)
    model.set_adapter({"default": 0.3, "b": -0.7})
    file = io.BytesIO()
    torch.save(model.eval(), file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert torch.equal(again(tokens()), model(tokens()))
    assert same_bits(bits(again), bits(model))
    again.set_adapter("b")
    model.set_adapter("b")
    assert torch.equal(again(tokens()), model(tokens()))
    again.remove()
    assert not any(m._forward_hooks for m in again.base_model.modules())


# Gradient checkpointing, export.


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(reentrant):
    class Checkpointed(TinyGPT):
        def forward(self, tokens):
            x = self.embedding(tokens)
            if reentrant:  # the frozen embedding's output needs no gradient, and reentrant checkpoints need one
                x = x.requires_grad_()
            for block in self.blocks:
                x = checkpoint(block, x, use_reentrant=reentrant)
            return self.head(x)

    plain, saving = (filled(LoRAModel(kind(), dropout=0.1)) for kind in (TinyGPT, Checkpointed))
    for model in (plain, saving):
        torch.manual_seed(0)
        model(tokens()).square().sum().backward()
    for (name, left), right in zip(plain.lora_layers.named_parameters(), saving.lora_layers.parameters(), strict=True):
        assert torch.allclose(left.grad, right.grad, atol=1e-6), name
        assert left.grad.abs().sum() > 0


def test_torch_export_holds_the_active_update():
    model = filled(LoRAModel(TinyGPT())).eval()
    program = torch.export.export(model, (tokens(),))
    assert torch.allclose(program.module()(tokens()), model(tokens()), atol=1e-6)


def test_inference_mode_leaves_a_trainable_model():
    model = filled(LoRAModel(mlp()))
    with torch.inference_mode():
        model(numbers(3, 6))
        model.merge()
        model.unmerge()
    model(numbers(3, 6)).sum().backward()


# Hooks of the user's own on the base.


def test_hooks_of_the_users_own_stay_and_keep_their_order():
    base, seen = mlp(), {}
    base[2].register_forward_hook(lambda module, args, output: seen.update(before=output))
    model = filled(LoRAModel(base))
    base[2].register_forward_hook(lambda module, args, output: seen.update(after=output))
    output = model(numbers(3, 6))
    assert torch.equal(seen["after"], output)
    assert not torch.equal(seen["before"], output)
    model.remove()
    assert len(base[2]._forward_hooks) == 2
