"""Rows of a table as a part of an adapter: what they change, what follows them, and PEFT's trainable_token_indices."""

import copy
import json

from lora_teach import LoRAConfig, LoRAModel, train
from lora_teach.layers.tokens import TrainedTokens
from lora_teach.peft_format.xray import lint, xray
from tests.tiny_language_model import tiny_model
from tests.toy import TinyGPT, bits, filled, fixed, picture, same_bits, same_picture, tokens

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT asks the old way

X = tokens(3, 5, size=16)
X[:, 1:3] = torch.tensor([7, 3])
BOTH = {"embed_tokens": [7, 3], "lm_head": [7, 3]}
WAYS = {"tied": (True, [7, 3]), "untied": (False, [7, 3]), "both": (False, BOTH), "named": (True, BOTH)}


def base(tied=True):
    return tiny_model(tie_word_embeddings=tied).double()


def adapted(way, **options):
    tied, wanted = WAYS[way]
    return LoRAModel(base(tied), rank=2, target_modules=["q_proj"], trainable_token_indices=wanted, **options)


def rows_by_hand(model, way):
    """The base with the rows written into its tables, and its adapter's other layers laid over it anew."""
    plain = base(WAYS[way][0])
    rows = model.saved_modules["default"]["model.embed_tokens"].rows.detach()
    with torch.no_grad():
        plain.model.embed_tokens.weight[[7, 3]] = rows
        if way == "both":
            plain.lm_head.weight[[7, 3]] = model.saved_modules["default"]["lm_head"].rows.detach()
    other = LoRAModel(plain, rank=2, target_modules=["q_proj"])
    other.adapters.load_state_dict(model.adapters.state_dict())
    return other.eval()


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


def test_a_new_one_changes_nothing_and_trained_it_is_the_base_with_other_rows(way):
    model = adapted(way)
    assert torch.equal(model(X).logits, base(WAYS[way][0])(X).logits)
    filled(model)
    assert torch.allclose(model(X).logits, rows_by_hand(model, way)(X).logits, rtol=1e-12, atol=1e-12)
    assert model.base_model.lm_head.weight is model.base_model.model.embed_tokens.weight or not WAYS[way][0]


def test_only_the_rows_are_counted_and_lora_layers_has_none(way):
    model, tables = adapted(way), 2 if way == "both" else 1
    assert model.count()[0] == sum(p.numel() for p in model.lora_layers.parameters()) + tables * 2 * 32
    assert list(model.lora_layers) == [f"model.layers.{i}.self_attn.q_proj" for i in (0, 1)]


def test_logits_and_gradients_equal_pefts_both_ways(way, tmp_path):
    peft = pytest.importorskip("peft")
    model = filled(adapted(way))
    model.save_adapter(tmp_path / "ours")
    theirs = peft.PeftModel.from_pretrained(base(WAYS[way][0]), tmp_path / "ours", is_trainable=True).double().eval()
    logits = model(X).logits
    assert torch.allclose(theirs(X).logits, logits, rtol=1e-12, atol=1e-12)
    for one in (model, theirs):
        one(X, labels=X).loss.backward()
    gradients = {
        name.replace("token_adapter.trainable_tokens_delta", "").split(".")[-2]: p.grad
        for name, p in model.saved_modules.named_parameters()
    }
    there = {name: p.grad for name, p in theirs.named_parameters() if "tokens_delta" in name}
    for table, gradient in gradients.items():
        (other,) = [value for name, value in there.items() if table in name]
        assert gradient.abs().sum() > 0 and torch.allclose(gradient, other, rtol=1e-10, atol=1e-12)
    theirs.save_pretrained(tmp_path / "theirs")
    again = LoRAModel.from_pretrained(base(WAYS[way][0]), tmp_path / "theirs")
    assert torch.allclose(again(X).logits, logits, rtol=1e-12, atol=1e-12)
    assert lint(tmp_path / "ours") == lint(tmp_path / "theirs") == []


@pytest.mark.filterwarnings("ignore:Could not find a config file")  # which some versions ask the network for
def test_a_peft_adapter_that_lists_tokens_is_read(tmp_path):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], trainable_token_indices=[3, 7])
    theirs = peft.get_peft_model(base(), config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if "tokens_delta" in name or "lora_B" in name:
                parameter.normal_()
    theirs.save_pretrained(tmp_path)
    model = LoRAModel.from_pretrained(base(), tmp_path)
    assert torch.allclose(model(X).logits, theirs(X).logits, rtol=1e-12, atol=1e-12)
    assert model.configs["default"].trainable_token_indices == (3, 7)


def test_saved_and_loaded_is_equal_to_the_last_bit(way, tmp_path):
    model = filled(adapted(way))
    model.save_adapter(tmp_path)
    again = LoRAModel.from_pretrained(base(WAYS[way][0]), tmp_path)
    assert torch.equal(again(X).logits, model(X).logits)
    assert same_bits(bits(again.saved_modules), bits(model.saved_modules))
    assert "Rows of tokens: " in str(xray(tmp_path))


def test_merging_writes_the_rows_and_unmerging_the_old_bits(way):
    model = filled(adapted(way))
    logits, before = model(X).logits, bits(model.base_model)
    with model.merged():
        assert torch.allclose(model(X).logits, logits, rtol=1e-12, atol=1e-12)
        table = model.base_model.model.embed_tokens.weight
        assert torch.equal(table[[7, 3]], model.saved_modules["default"]["model.embed_tokens"].rows)
        assert torch.equal(table[:3], before["model.embed_tokens.weight"][:3])
    assert same_bits(bits(model.base_model), before)
    with model.disabled():
        assert torch.equal(model(X).logits, base(WAYS[way][0])(X).logits)
    plain = model.remove(merge=True)
    assert torch.allclose(plain(X).logits, logits, rtol=1e-12, atol=1e-12)
    assert (plain.lm_head.weight is plain.model.embed_tokens.weight) == WAYS[way][0]


def test_removed_it_leaves_no_trace(way):
    plain = base(WAYS[way][0])
    before = picture(plain)
    model = filled(LoRAModel(plain, target_modules=["q_proj"], trainable_token_indices=WAYS[way][1]))
    model(X)
    assert same_picture(before, picture(model.remove()))


def test_training_moves_these_rows_and_nothing_of_the_base():
    model = adapted("tied")
    before, rows = bits(model.base_model), bits(model.saved_modules)
    train(model, [{"input_ids": X, "labels": X}], lr=1e-2, steps=3, progress=False)
    assert same_bits(bits(model.base_model), before)
    assert not torch.equal(*(state[next(iter(rows))] for state in (rows, bits(model.saved_modules))))


def test_several_adapters_each_with_its_own_and_in_rows():
    model = filled(adapted("tied"))
    model.add_adapter("b", rank=2, target_modules=["v_proj"], trainable_token_indices=[1, 3, 5])
    filled(model, seed=4)
    alone = []
    for name in ("b", None, "default"):
        model.set_adapter(name)
        alone.append(model(X).logits[len(alone)])
    with model.rows(["b", None, "default"]):
        assert torch.allclose(model(X).logits, torch.stack(alone), rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="cannot be mixed"):
        model.set_adapter({"default": 0.5, "b": 0.5})
    model.delete_adapter("b")
    model.set_adapter("default")
    assert torch.equal(copy.deepcopy(model)(X).logits, model(X).logits)


def test_half_precision_keeps_rows_in_float32():
    model = filled(LoRAModel(tiny_model().bfloat16(), target_modules=["q_proj"], trainable_token_indices=[3]))
    rows = model.saved_modules["default"]["model.embed_tokens"].rows
    assert rows.dtype == torch.float32 and model(X).logits.dtype == torch.bfloat16
    model(X, labels=X).loss.backward()
    assert rows.grad.abs().sum() > 0


def test_a_scaled_embedding_and_the_padding_row():
    class Scaled(nn.Embedding):
        embed_scale = 3.0

        def forward(self, x):
            return super().forward(x) * self.embed_scale

    table = fixed(Scaled(6, 4, padding_idx=2)).double()
    rows = TrainedTokens(table, (1, 2))
    x = torch.tensor([[0, 1, 2]])
    assert torch.equal(rows(x, table(x)), table(x))
    rows(x, table(x)).sum().backward()
    assert (rows.rows.grad[0] == 3).all() and not rows.rows.grad[1].any()  # as the table's own padding row gets none


def with_bias(model):
    model.head = nn.Linear(8, 11)
    return model


@pytest.mark.parametrize(
    ("wanted", "make", "error", "words"),
    [
        ([16], base, ValueError, "token 16 is none of its 16 tokens, 0 to 15.*resize_token_embeddings"),
        ({"embed_token": [1]}, base, ValueError, "'embed_token', which is no module.*'embed_tokens'"),
        ({"norm": [1]}, base, ValueError, "LlamaRMSNorm is no embedding"),
        ({"embed_tokens": [1], "lm_head": [2]}, base, ValueError, "one table"),
        ([1], lambda: TinyGPT(tied=False), ValueError, "which table it means.*'embedding'"),
        ({"embedding": [1]}, TinyGPT, ValueError, "tied to 'head'.*tie_word_embeddings.*Untie"),
        ({"head": [1]}, lambda: with_bias(TinyGPT(tied=False)), ValueError, "has a bias.*modules_to_save"),
    ],
)
def test_what_cannot_be_is_refused(wanted, make, error, words):
    plain = make()
    before = picture(plain)
    with pytest.raises(error, match=words):
        LoRAModel(plain, target_modules=["q_proj"], trainable_token_indices=wanted)
    assert same_picture(before, picture(plain))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target_modules": ["q_proj", "embed_tokens"]}, "rows of it are trained"),
        ({"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}, "trained whole"),
    ],
)
def test_a_table_is_adapted_in_one_way(options, words):
    with pytest.raises(ValueError, match=words):
        LoRAModel(base(False), trainable_token_indices=[3], **options)


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ([1.5], TypeError), ("3", TypeError), ([True], TypeError), ([], TypeError), (3, TypeError), ([-1], ValueError),
        ([1, 1], ValueError), ({"a": {"b": [1]}}, TypeError), ({"": [1]}, TypeError),
    ],
)  # fmt: skip
def test_the_option_is_checked(wanted, error):
    with pytest.raises(error, match="trainable_token_indices"):
        LoRAConfig(trainable_token_indices=wanted)


def test_a_resized_table_is_refused():
    model = adapted("tied")
    model.base_model.model.embed_tokens.weight = nn.Parameter(torch.zeros(20, 32).double())
    with pytest.raises(RuntimeError, match="resized"):
        model.merge()


def test_rows_that_do_not_fit_the_config_are_told(tmp_path):
    filled(adapted("tied")).save_adapter(tmp_path)
    config_file, weights_file = tmp_path / "adapter_config.json", tmp_path / "adapter_model.safetensors"
    config, tensors = json.loads(config_file.read_text()), load_file(weights_file)
    config_file.write_text(json.dumps(config | {"trainable_token_indices": {"model.embed_tokens": [1, 2, 3]}}))
    assert any("names 3 tokens" in str(one) for one in lint(tmp_path))
    with pytest.raises(ValueError, match=r"trainable_tokens_delta has shape \(2, 32\); here it must be \(3, 32\)"):
        LoRAModel.from_pretrained(base(), tmp_path)
    config_file.write_text(json.dumps(config | {"trainable_token_indices": None}))
    assert any("names no tokens" in str(one) for one in lint(tmp_path))
    config_file.write_text(json.dumps(config))
    save_file({k: v for k, v in tensors.items() if "delta" not in k}, weights_file, {"format": "pt"})
    assert any("holds no rows" in str(one) for one in lint(tmp_path))
    with pytest.raises(ValueError, match="tensors are missing"):
        LoRAModel.from_pretrained(base(), tmp_path)
