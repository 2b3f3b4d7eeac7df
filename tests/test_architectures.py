"""Tiny random Llama, Qwen2, GPT-2, BERT, ALBERT, T5 and ViT: ours equals PEFT's, and they go on working."""

import copy
import warnings

from lora_teach import LoRAModel, train
from tests.toy import bits, filled, fixed, same_bits

import pytest
import torch
from safetensors.torch import load_file

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
TEXT = {"vocab_size": 23, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def ids(seq=6, seed=3):
    return torch.randint(3, 23, (2, seq), generator=torch.Generator().manual_seed(seed))


def llama():
    config = transformers.LlamaConfig(**SIZES, **TEXT, num_key_value_heads=1, max_position_embeddings=32)
    return transformers.LlamaForCausalLM(config), {"input_ids": ids(), "labels": ids()}


def qwen2():
    config = transformers.Qwen2Config(
        **SIZES, **TEXT, num_key_value_heads=1, max_position_embeddings=32, tie_word_embeddings=True
    )
    return transformers.Qwen2ForCausalLM(config), {"input_ids": ids(), "labels": ids()}


def gpt2():
    config = transformers.GPT2Config(
        **TEXT, n_embd=16, n_layer=2, n_head=2, n_positions=32, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
    )
    return transformers.GPT2LMHeadModel(config), {"input_ids": ids(), "labels": ids()}


def bert():
    config = transformers.BertConfig(**SIZES, **STILL, **TEXT, max_position_embeddings=32, num_labels=5)
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [1] * 6])
    batch = {"input_ids": ids(), "attention_mask": mask, "labels": torch.tensor([1, 3])}
    return transformers.BertForSequenceClassification(config), batch


def albert():
    config = transformers.AlbertConfig(**SIZES, **STILL, **TEXT, embedding_size=8, max_position_embeddings=32)
    return transformers.AlbertForMaskedLM(config), {"input_ids": ids(), "labels": ids()}


def t5():
    config = transformers.T5Config(
        vocab_size=23, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, dropout_rate=0.0,
        pad_token_id=0, eos_token_id=2, decoder_start_token_id=0,
    )  # fmt: skip
    return transformers.T5ForConditionalGeneration(config), {"input_ids": ids(), "labels": ids(4, seed=5)}


def vit():
    config = transformers.ViTConfig(**SIZES, **STILL, image_size=8, patch_size=4, num_channels=1, num_labels=5)
    pixels = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    return transformers.ViTForImageClassification(config), {"pixel_values": pixels, "labels": torch.tensor([1, 3])}


MAKERS = (llama, qwen2, gpt2, bert, albert, t5, vit)
GENERATING = (llama, qwen2, gpt2, t5)


def make(maker, dtype=torch.float64):
    """A base and its batch; the model's random numbers depend on nothing but its shapes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base, batch = maker()
    fixed(base)
    with torch.no_grad():
        for parameter in base.parameters():
            parameter.mul_(0.4)  # so that no softmax saturates
    batch = {key: value.to(dtype) if value.is_floating_point() else value for key, value in batch.items()}
    return base.to(dtype).eval(), batch


def peft_twin(model, base, **options):
    """PEFT over an equal base, with the same A and B copied into it."""
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=list(model.lora_layers), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin = peft.get_peft_model(base, config, autocast_adapter_dtype=False)
    theirs = lora_modules(twin)
    assert set(theirs) == set(model.lora_layers)
    with torch.no_grad():
        for name, layer in model.lora_layers.items():
            theirs[name].lora_A["default"].weight.copy_(layer.lora_A.T)
            theirs[name].lora_B["default"].weight.copy_(layer.lora_B.T)
    return twin.eval()


def lora_modules(twin):
    return {
        name.removeprefix("base_model.model."): module
        for name, module in twin.named_modules()
        if hasattr(module, "lora_A")
    }


def close(left, right, dtype):
    limit = 1e-12 if dtype == torch.float64 else 1e-5
    return (left - right).abs().max() <= limit * max(right.abs().max(), 1e-3)


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__)
def maker(request):
    return request.param


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_outputs_and_gradients_equal_pefts(maker, dtype):
    base, batch = make(maker, dtype)
    model = filled(LoRAModel(base, alpha=6))
    twin = peft_twin(model, make(maker, dtype)[0])
    ours, theirs = model(**batch), twin(**batch)
    assert close(ours.logits, theirs.logits, dtype)
    assert close(ours.loss, theirs.loss, dtype)
    ours.loss.backward()
    theirs.loss.backward()
    for name, module in lora_modules(twin).items():
        layer = model.lora_layers[name]
        assert layer.lora_A.grad.abs().sum() > 0
        assert close(layer.lora_A.grad.T, module.lora_A["default"].weight.grad, dtype)
        assert close(layer.lora_B.grad.T, module.lora_B["default"].weight.grad, dtype)
    assert all(p.grad is None for p in base.parameters())
    with twin.disable_adapter(), model.disabled():
        assert torch.equal(model(**batch).logits, twin(**batch).logits)


@torch.no_grad()  # PyTorch picks some kernels by what needs a gradient, and the overlay freezes the base
def test_a_new_adapter_and_one_that_is_off_change_no_bit(maker):
    base, batch = make(maker, torch.float32)
    before, expected = bits(base), base(**batch).logits
    model = LoRAModel(base)
    assert torch.equal(model(**batch).logits, expected)
    filled(model)
    assert not torch.allclose(model(**batch).logits, expected, atol=1e-3)
    with model.disabled():
        assert torch.equal(model(**batch).logits, expected)
    model.set_adapter(None)
    assert torch.equal(model(**batch).logits, expected)
    assert same_bits(before, bits(base))
    assert torch.equal(model.remove()(**batch).logits, expected)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_merged_equals_unmerged_and_pefts_merged(maker, dtype):
    base, batch = make(maker, dtype)
    before = bits(base)
    model = filled(LoRAModel(base, alpha=6))
    output = model(**batch).logits
    twin = peft_twin(model, make(maker, dtype)[0]).merge_and_unload()
    with model.merged():
        merged = model(**batch).logits
        assert close(merged, output, dtype)
        assert close(merged, twin(**batch).logits, dtype)
    assert same_bits(before, bits(base))
    assert torch.equal(model(**batch).logits, output)
    assert torch.equal(model.remove(merge=True)(**batch).logits, merged)


def test_the_base_moves_by_no_bit_in_training_and_the_loss_falls(maker):
    base, batch = make(maker, torch.float32)
    before = bits(base)
    model = LoRAModel(base)
    history = train(model, [batch], lr=1e-2, steps=50 if maker is llama else 8, progress=False)
    assert history.loss[-1] < history.loss[0]
    assert same_bits(before, bits(base))
    assert all(layer.lora_B.any() for layer in model.lora_layers.values())


def test_the_file_goes_to_peft_and_back(maker, tmp_path):
    base, batch = make(maker)
    model = filled(LoRAModel(base, alpha=6, rank_pattern={list(LoRAModel(make(maker)[0]).lora_layers)[0]: 2}))
    expected = model(**batch).logits
    model.save_adapter(tmp_path / "ours")
    assert torch.equal(LoRAModel.from_pretrained(make(maker)[0], tmp_path / "ours")(**batch).logits, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        twin = peft.PeftModel.from_pretrained(make(maker)[0], tmp_path / "ours", autocast_adapter_dtype=False).eval()
        assert close(twin(**batch).logits, expected, torch.float64)
        twin.save_pretrained(tmp_path / "theirs")
    again = LoRAModel.from_pretrained(make(maker)[0], tmp_path / "theirs")
    assert close(again(**batch).logits, expected, torch.float64)


def test_base_weights_in_pefts_file_are_passed_over_if_they_are_the_bases_own(tmp_path):
    base, batch = make(llama)
    model = filled(LoRAModel(base, alpha=6, target_modules=["lm_head"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peft_twin(model, make(llama)[0]).save_pretrained(tmp_path)  # PEFT adds the weight of a head that is adapted
    assert any("base_layer" in key for key in load_file(tmp_path / "adapter_model.safetensors"))
    assert close(
        LoRAModel.from_pretrained(make(llama)[0], tmp_path)(**batch).logits, model(**batch).logits, torch.float64
    )
    other, _ = make(llama)
    with torch.no_grad():
        other.lm_head.weight.mul_(2)
    before = bits(other)
    with pytest.raises(ValueError, match="no place here.*lm_head.base_layer.weight"):
        LoRAModel.from_pretrained(other, tmp_path)
    assert same_bits(before, bits(other))


def test_the_task_kinds_that_peft_knows_are_read(tmp_path):
    base, batch = make(bert)
    config = peft.LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=6, target_modules=["query", "value"])
    twin = peft.get_peft_model(base, config, autocast_adapter_dtype=False).eval()
    with torch.no_grad():
        for parameter in twin.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    twin.save_pretrained(tmp_path)
    model = LoRAModel.from_pretrained(make(bert)[0], tmp_path)
    assert list(model.saved_modules["default"]) == ["classifier"]
    assert close(model(**batch).logits, twin(**batch).logits, torch.float64)


def test_half_precision_bases(maker):
    exact, batch = make(maker, torch.float32)
    base, half = make(maker, torch.bfloat16)
    expected = filled(LoRAModel(exact))(**batch).logits
    model = filled(LoRAModel(base))
    assert {p.dtype for p in model.lora_layers.parameters()} == {torch.float32}
    output = model(**half)
    assert output.logits.dtype == torch.bfloat16
    assert (output.logits.float() - expected).abs().max() < 0.1 * expected.abs().max()
    output.loss.backward()
    assert {p.grad.dtype for p in model.lora_layers.parameters()} == {torch.float32}
    before = bits(base)
    with model.merged():
        pass
    assert same_bits(before, bits(base))


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("maker", [llama, gpt2, bert], ids=lambda maker: maker.__name__)
def test_gradient_checkpointing_gives_the_same_gradients(maker, reentrant):
    gradients = []
    for saving in (False, True):
        base, batch = make(maker)
        model = filled(LoRAModel(base)).train()
        if saving:
            model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            model.enable_input_require_grads()
        model(**batch, **({"use_cache": False} if maker is not bert else {})).loss.backward()
        gradients.append([p.grad for p in model.lora_layers.parameters()])
    assert all(torch.allclose(left, right, atol=1e-12) for left, right in zip(*gradients, strict=True))
    assert all(gradient.abs().sum() > 0 for gradient in gradients[1])


# What is tied and shared.


def test_a_tied_head_stays_tied_and_is_left_out():
    for maker, head in ((qwen2, "lm_head"), (gpt2, "lm_head"), (albert, "predictions.decoder"), (t5, "lm_head")):
        base, _ = make(maker)
        model = LoRAModel(base)
        assert head in model.left_out["default"], maker.__name__
        assert head not in model.lora_layers
        assert base.get_output_embeddings().weight is base.get_input_embeddings().weight
        model.remove()
        with pytest.raises(ValueError, match="tied to the embedding"):
            LoRAModel(base, target_modules=[head])
    assert "lm_head" in LoRAModel(make(llama)[0]).lora_layers


def test_alberts_shared_layers_are_adapted_once_and_count_at_each_pass():
    base, batch = make(albert)
    model = LoRAModel(base, target_modules=["query"])
    assert len(model.lora_layers) == 1
    calls = []
    next(iter(model.lora_layers.values())).register_forward_hook(lambda *_: calls.append(1))
    model(**batch)
    assert len(calls) == 2


def test_gpt2s_conv1d_is_adapted_in_its_own_orientation():
    base, _ = make(gpt2)
    model = LoRAModel(base)
    assert {name.rpartition(".")[2] for name in model.lora_layers} == {"c_attn", "c_proj", "c_fc"}
    layer = model.lora_layers["transformer.h.0.attn.c_attn"]
    assert (layer.in_features, layer.out_features) == (16, 48)


def test_target_modules_match_as_pefts_do(maker):
    base, _ = make(maker)
    wanted = {llama: ["q_proj", "0.mlp.up_proj"], qwen2: r".*\.(q|v)_proj", gpt2: ["c_attn"], bert: ["query", "dense"],
              albert: ["query", "ffn"], t5: ["q", "v"], vit: ["q_proj", "v_proj"]}[maker]  # fmt: skip
    if maker is vit and not any(name.endswith("q_proj") for name, _ in base.named_modules()):
        wanted = ["query", "value"]
    ours = LoRAModel(copy.deepcopy(base), target_modules=wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = peft.get_peft_model(base, peft.LoraConfig(target_modules=wanted))
    assert set(ours.lora_layers) == set(lora_modules(theirs))


# generate.


@pytest.mark.parametrize("maker", GENERATING, ids=lambda maker: maker.__name__)
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"cache_implementation": "static"}], ids=str)
def test_generate_uses_the_adapter(maker, options):
    base, batch = make(maker)
    if maker is t5 and "cache_implementation" in options:
        options = {"num_beams": 2}
    options |= {"max_new_tokens": 6, "do_sample": False}
    prompt = batch["input_ids"]
    plain = base.generate(prompt, **options)
    model = filled(LoRAModel(base), std=1.0)
    adapted = model.generate(prompt, **options)
    assert not torch.equal(adapted, plain)
    with model.merged():
        assert torch.equal(model.generate(prompt, **options), adapted)
    with model.disabled():
        assert torch.equal(model.generate(prompt, **options), plain)
    twin = peft_twin(filled(LoRAModel(make(maker)[0], alpha=6), std=1.0), make(maker)[0])
    model.set_alpha(6)
    assert torch.equal(model.generate(prompt, **options), twin.generate(input_ids=prompt, **options))


def test_greedy_generation_is_the_argmax_of_the_forward():
    base, batch = make(llama)
    model = filled(LoRAModel(base), std=1.0)
    generated = model.generate(batch["input_ids"], max_new_tokens=5, do_sample=False, eos_token_id=None)
    for end in range(6, 11):
        assert torch.equal(model(generated[:, :end]).logits[:, -1].argmax(-1), generated[:, end])
