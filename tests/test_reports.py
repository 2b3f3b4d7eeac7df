"""What users of LoRA tools have reported in public, tried here as small inputs; each test names its thread."""

import copy

from lora_teach import LoRAModel, NonFiniteLoss, train, training_steps
from tests.toy import TinyGPT, bits, filled, mlp, numbers, same_bits, tokens

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.checkpoint import checkpoint

mse = nn.functional.mse_loss


def data(count=2):
    return [(numbers(5, 6, seed=n), numbers(5, 4, seed=10 + n)) for n in range(count)]


def next_token(output, targets):
    return nn.functional.cross_entropy(output.float().flatten(0, 1), targets.flatten())


def test_the_weights_of_modules_to_save_change_and_reach_the_file(tmp_path):
    # https://github.com/unslothai/unsloth/issues/3327
    model = LoRAModel(TinyGPT(tied=False), rank=2, target_modules=["q_proj"], modules_to_save=["head"])
    assert all(p.requires_grad for p in model.saved_modules.parameters())
    train(model, [(tokens(), tokens())], next_token, steps=3, progress=False)
    model.save_adapter(tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")["base_model.model.head.weight"]
    assert not torch.equal(saved, model.base_model.head.weight)


def test_an_adapter_trained_under_torch_compile_is_not_dead_when_it_is_read_again(tmp_path):
    # https://github.com/MakazhanAlpamys/Soup/issues/335
    model = torch.compile(LoRAModel(torch.compile(mlp(), backend="eager"), rank=2), backend="eager")
    train(model, data(), mse, steps=3, progress=False)
    model.save_adapter(tmp_path)
    theirs = peft.PeftModel.from_pretrained(mlp(), tmp_path)
    assert all(p.any() for name, p in theirs.named_parameters() if "lora_B" in name)
    assert torch.allclose(theirs(numbers(2, 6)), model(numbers(2, 6)), atol=1e-6)


def test_the_targets_of_a_compiled_model_are_found_by_their_plain_names():
    # https://github.com/huggingface/peft/issues/2957
    model = LoRAModel(torch.compile(TinyGPT(), backend="eager"), rank=2, target_modules=["blocks.0.q_proj"])
    assert list(model.lora_layers) == ["blocks.0.q_proj"]


def test_adapters_are_switched_and_mixed_after_compiling():
    # https://github.com/huggingface/diffusers/issues/11408
    model = filled(LoRAModel(mlp(), rank=2))
    model.add_adapter("b", rank=2)
    filled(model)
    fast, x = torch.compile(model, backend="eager"), numbers(3, 6)
    fast(x)
    for choice in ("b", {"b": 0.5}, None, {"default": 0.3, "b": 0.7}):
        fast.set_adapter(choice)
        assert torch.allclose(fast(x), model(x), atol=1e-6)


@pytest.mark.parametrize("option", ["rank_pattern", "alpha_pattern"])
def test_a_pattern_that_matches_no_layer_is_an_error(option):
    # https://github.com/huggingface/peft/issues/3582
    with pytest.raises(ValueError, match=f"{option} has '.*q_proj', which matches no module"):
        LoRAModel(TinyGPT(), rank=2, target_modules=["q_proj", "v_proj"], **{option: {"^q_proj": 3}})


def test_an_adapter_on_a_tied_head_is_never_merged_into_the_embedding():
    # https://github.com/huggingface/peft/issues/2018
    with pytest.raises(ValueError, match="tied to the embedding 'embedding'"):
        LoRAModel(TinyGPT(), target_modules=["head"])


def test_a_trained_head_that_the_base_would_tie_again_is_not_merged():
    # https://github.com/huggingface/transformers/issues/45127
    model = LoRAModel(TinyGPT(), rank=2, target_modules=["q_proj"], modules_to_save=["head"])
    before = bits(model.base_model)
    with pytest.raises(ValueError, match="shared with embedding.weight"):
        model.remove(merge=True)
    assert same_bits(bits(model.base_model), before)


class Checkpointed(TinyGPT):
    """Gradient checkpointing, of the kind that needs an input with a gradient."""

    reentrant = True

    def forward(self, inputs):
        x = self.embedding(inputs)
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return self.head(x)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True:UserWarning")
def test_gradient_checkpointing_that_cuts_every_gradient_off_is_named():
    # https://github.com/microsoft/LoRA/issues/120 and https://github.com/dropbox/hqq/issues/41
    model = LoRAModel(Checkpointed(), rank=2, target_modules=["q_proj"])
    with pytest.raises(ValueError, match="carries no gradient.*use_reentrant"):
        train(model, [(tokens(), tokens())], next_token, progress=False)
    model.base_model.reentrant = False
    train(model, [(tokens(), tokens())], next_token, steps=3, progress=False)
    assert all(layer.lora_B.any() for layer in model.lora_layers.values())


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True:UserWarning")
def test_layers_that_gradient_checkpointing_leaves_untrained_are_named():
    # https://github.com/locuslab/open-unlearning/issues/178
    model = LoRAModel(Checkpointed(tied=False), rank=2, target_modules=["q_proj", "head"])
    with pytest.warns(UserWarning, match="4 of 6 trainable parameters got no gradient.*blocks.0.q_proj.lora_A"):
        train(model, [(tokens(), tokens())], next_token, steps=2, progress=False)


@pytest.mark.parametrize("halved", [lambda model: model, lambda model: model.half()])
def test_gradients_are_never_float16_so_that_a_scaler_can_unscale_them(halved):
    # https://github.com/huggingface/transformers/issues/23165
    # https://github.com/bitsandbytes-foundation/bitsandbytes/issues/945
    model = halved(LoRAModel(mlp(torch.float16), rank=2, target_modules=["0"], modules_to_save=["2"]))
    optimizer = torch.optim.SGD(model.trainable_parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    x, y = data()[0]
    scaler.scale(mse(model(x.half()).float(), y)).backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    assert all(p.grad.dtype == torch.float32 for p in model.trainable_parameters())


@pytest.mark.parametrize("stop", [3, 5, 8])
def test_a_resumed_run_goes_on_with_the_rate_it_would_have_had(tmp_path, stop):
    # https://github.com/huggingface/transformers/issues/34053 and https://github.com/huggingface/transformers/issues/27749
    def rates(folder, stop=None):
        torch.manual_seed(0)
        model = LoRAModel(mlp(), rank=2)
        optimizer = torch.optim.SGD(model.trainable_parameters(), lr=1e-2)
        linear = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 11)
        seen = []
        for step in training_steps(
            model, data(), mse, steps=10, optimizer=optimizer, checkpoint=folder, checkpoint_every=1
        ):
            seen.append(step.lr)
            linear.step()
            if step.index == stop:
                return seen
        return seen

    whole = rates(None)
    rates(tmp_path, stop)
    assert rates(tmp_path) == whole == pytest.approx([1e-2 * (1 - n / 11) for n in range(10)])


def test_a_longer_run_is_no_resumption_that_yields_the_same_adapter_again(tmp_path):
    # https://github.com/kohya-ss/sd-scripts/issues/954
    train(LoRAModel(mlp(), rank=2), data(), mse, steps=4, checkpoint=tmp_path, progress=False)
    with pytest.raises(ValueError, match="steps=4, and this one has steps=8"):
        train(LoRAModel(mlp(), rank=2), data(), mse, steps=8, checkpoint=tmp_path, progress=False)


def test_running_statistics_are_part_of_what_is_saved_or_do_not_move(tmp_path):
    # https://github.com/NVIDIA-NeMo/Speech/pull/12421
    def base():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4))

    for options in ({}, {"modules_to_save": ["1"]}):
        model = LoRAModel(base(), rank=2, **options)
        train(model, data(), mse, steps=4, progress=False)
        model.save_adapter(tmp_path)
        again = LoRAModel.from_pretrained(base(), tmp_path).eval()
        assert torch.equal(again(numbers(3, 6)), model.eval()(numbers(3, 6)))


def test_merging_in_bfloat16_rounds_once_and_unmerging_gives_the_base_back():
    # https://github.com/huggingface/peft/issues/1388
    model = filled(LoRAModel(mlp(torch.bfloat16), rank=2), std=0.05)
    before = bits(model.base_model)
    exact = {name: (model.base_model.get_submodule(name).weight.float() + layer.delta_weight()).bfloat16()
             for name, layer in model.lora_layers.items()}  # fmt: skip
    with model.merged():
        assert all(torch.equal(model.base_model.get_submodule(name).weight, value) for name, value in exact.items())
    assert same_bits(bits(model.base_model), before)


def test_gradients_flow_in_evaluation_mode_as_well():
    # https://github.com/huggingface/peft/issues/120
    model = LoRAModel(mlp(), rank=2).eval()
    mse(model(data()[0][0]), data()[0][1]).backward()
    assert all(layer.lora_B.grad.any() for layer in model.lora_layers.values())


def test_an_autocast_around_the_whole_run_does_not_keep_the_numbers_of_its_first_step():
    # https://github.com/X-GenGroup/Flow-Factory/pull/186 and https://github.com/pytorch/pytorch/issues/105211
    class Within(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            with torch.autocast("cpu", torch.bfloat16):
                return self.model(x)

    def in_float32(output, targets):  # older versions of torch can't differentiate a loss of two dtypes
        return mse(output.float(), targets)

    def losses(around):
        torch.manual_seed(0)
        model, seen = LoRAModel(mlp(), rank=2), []
        with torch.autocast("cpu", torch.bfloat16, enabled=around):
            chosen = model if around else Within(model)
            steps = training_steps(chosen, data(), in_float32, lr=0.1, steps=8, validation=data(1))
            for step in steps:
                with torch.no_grad():
                    model(data()[0][0])
                seen.append((step.loss, step.validation))
        return seen

    def close(left, right):
        return all(
            torch.allclose(torch.tensor(a), torch.tensor(b), rtol=0.02) for a, b in zip(left, right, strict=True)
        )

    assert close(losses(True), losses(False))


def test_an_adapter_that_something_froze_is_not_trained_in_silence():
    # https://github.com/huggingface/trl/issues/3926
    model = LoRAModel(mlp(), rank=2)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter requires a gradient"):
        train(model, data(), mse, progress=False)


def test_an_embedding_that_was_saved_for_another_vocabulary_is_refused_by_its_sizes(tmp_path):
    # https://github.com/hiyouga/LlamaFactory/issues/3125
    options = {"rank": 2, "target_modules": ["q_proj"], "modules_to_save": ["embedding"]}
    LoRAModel(TinyGPT(tied=False), **options).save_adapter(tmp_path)
    larger = TinyGPT(tied=False)
    larger.embedding = nn.Embedding(20, 8)
    before = bits(larger)
    with pytest.raises(ValueError, match=r"embedding.weight has shape \(11, 8\); here it must be \(20, 8\)"):
        LoRAModel.from_pretrained(larger, tmp_path)
    assert same_bits(bits(larger), before)


def test_tokens_are_added_before_the_overlay_or_the_copy_is_seen_to_lag_behind(tmp_path):
    # https://github.com/allenai/open-instruct/pull/142
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=20
    )
    base = transformers.LlamaForCausalLM(config)
    model = LoRAModel(base, rank=2, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])
    base.resize_token_embeddings(24, mean_resizing=False)
    with pytest.raises(RuntimeError, match="'(model.embed_tokens|lm_head)' was (resized|replaced)"):
        model.save_adapter(tmp_path)


def test_a_copy_of_a_model_is_no_second_door_to_the_first():
    # https://github.com/huggingface/peft/issues/1064: what merging, loading and adding do to one base
    model = filled(LoRAModel(mlp(), rank=2))
    before = bits(model.base_model)
    other = copy.deepcopy(model)
    other.remove(merge=True)
    assert same_bits(bits(model.base_model), before)
    with pytest.raises(NonFiniteLoss):
        train(model, [(data()[0][0] * torch.inf, data()[0][1])], mse, progress=False)
    assert same_bits(bits(model.base_model), before)
