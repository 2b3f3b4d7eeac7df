"""NameGPT: shapes, causality, the shipped checkpoint, and sampling with fixed noise."""

import math

from lora_teach.bases import NameGPT, evaluate, gumbel_noise, load_name_gpt, name_loss, sample_names
from lora_teach.bases.name_gpt import Attention
from lora_teach.datasets import names, shipped

import pytest
import torch
from torch import nn


@pytest.fixture(scope="module")
def model():
    return load_name_gpt()


def test_shapes_and_size():
    model = NameGPT()
    inputs, _ = names.encode(["aino", "mandla"])
    assert model(inputs).shape == (2, 7, len(names.ALPHABET))
    assert 330_000 < sum(parameter.numel() for parameter in model.parameters()) < 370_000


def test_the_modules_have_the_names_that_the_course_uses():
    paths = dict(NameGPT().named_modules())
    for block in range(3):
        for end in (
            "norm1",
            "norm2",
            *(f"attention.{letter}_proj" for letter in "qkvo"),
            "mlp.up_proj",
            "mlp.down_proj",
        ):
            assert f"blocks.{block}.{end}" in paths
    linear = [path for path, module in paths.items() if isinstance(module, nn.Linear)]
    assert len(linear) == 18 + 1
    assert "head" in linear


def test_the_head_is_tied_to_the_embedding(model):
    assert model.head.weight is model.embedding.weight
    assert NameGPT().head.weight.shape == (len(names.ALPHABET), 96)


def test_a_later_letter_never_changes_earlier_logits(model):
    inputs, _ = names.encode(["charlotte"])
    with torch.no_grad():
        before = model(inputs)
        for position in range(1, inputs.shape[1]):
            changed = inputs.clone()
            changed[0, position] = names.ALPHABET.index("x")
            after = model(changed)
            assert torch.equal(after[:, :position], before[:, :position])
            assert not torch.allclose(after[:, position], before[:, position])


def test_attention_is_what_the_formula_says():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        attention, x = Attention(8, 2), torch.randn(1, 5, 8)
    q, k, v = (getattr(attention, f"{name}_proj")(x).view(5, 2, 4).transpose(0, 1) for name in "qkv")  # (heads, seq, 4)
    scores = (q @ k.transpose(1, 2) / math.sqrt(4)).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
    read = (scores.softmax(-1) @ v).transpose(0, 1).reshape(1, 5, 8)
    assert torch.allclose(attention(x), attention.o_proj(read), atol=1e-6)


def test_the_seed_decides_the_start_and_the_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    first, same, other = NameGPT(seed=1), NameGPT(seed=1), NameGPT(seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.blocks[2].mlp.up_proj.weight, same.blocks[2].mlp.up_proj.weight)
    assert not torch.equal(first.blocks[2].mlp.up_proj.weight, other.blocks[2].mlp.up_proj.weight)


def test_too_long_a_sequence_is_refused():
    with pytest.raises(ValueError, match="18 tokens.*17 positions.*at most 16 letters"):
        NameGPT()(torch.zeros(1, 18, dtype=torch.long))


def test_name_loss_leaves_padding_out(model):
    short, both = names.encode(["eva"]), names.encode(["eva", "charlotte"])
    alone = name_loss(model(short[0]), short[1])
    padded = name_loss(model(both[0])[:1], both[1][:1])
    assert torch.allclose(alone, padded, atol=1e-6)


def test_evaluate_is_the_mean_over_letters_whatever_the_batches(model):
    some = names.load("English").test[:700]  # more than one batch of evaluate's
    inputs, targets = names.encode(some)
    with torch.no_grad():
        assert evaluate(model, some) == pytest.approx(name_loss(model(inputs), targets).item(), abs=1e-5)


def test_evaluate_and_sampling_restore_every_modules_mode():
    model = NameGPT().train()
    model.blocks[1].eval()
    modes = [module.training for module in model.modules()]
    evaluate(model, ["eva"])
    sample_names(model, gumbel_noise(1))
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_shipped_checkpoint_has_the_quality_it_should(model):
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    english = names.load("English")
    assert evaluate(model, english.test) < 2.15
    for language in names.languages()[1:]:  # what is left to learn
        assert evaluate(model, names.load(language).test[:100]) > 2.4


def test_letters_that_english_lacks_are_still_told_apart(model):
    """Pretraining pushes them all the same way; an adapter must be able to write ö without writing ż."""
    vectors = torch.nn.functional.normalize(model.embedding.weight.detach()[27:], dim=1)  # (letters, width)
    alike = vectors @ vectors.T  # (letters, letters)
    others = alike[~torch.eye(len(alike)).bool()]
    assert others.mean() < 0.6
    assert others.max() < 0.8


def test_the_shipped_checkpoint_beats_counting_letters(model):
    english = names.load("English")
    judge = names.Judge(english.train)
    letters = [value for name in english.test for value in judge.letters(name)]
    assert evaluate(model, english.test) < sum(letters) / len(letters) - 0.1


def test_every_load_is_a_model_of_its_own(model):
    other = load_name_gpt()
    assert torch.equal(other.embedding.weight, model.embedding.weight)
    assert other.embedding.weight is not model.embedding.weight


def test_sampling_is_decided_by_the_noise(model):
    noise = gumbel_noise(8, seed=1)
    assert torch.equal(noise, gumbel_noise(8, seed=1))
    assert torch.equal(noise[:3], gumbel_noise(3, seed=1))
    assert not torch.equal(noise, gumbel_noise(8, seed=2))
    written = sample_names(model, noise)
    assert written == sample_names(model, noise)
    assert sample_names(model, noise[:3]) == written[:3]
    assert written != sample_names(model, gumbel_noise(8, seed=2))


def test_samples_are_names_of_1_to_16_letters(model):
    written = sample_names(model, gumbel_noise(100))
    assert all(1 <= len(name) <= names.MAX_LETTERS for name in written)
    assert len(set(written)) > 90
    assert 5 < sum(map(len, written)) / 100 < 9
    english, zulu = (names.Judge(names.load(language).train) for language in ("English", "Zulu"))
    assert sum(map(english.surprise, written)) < sum(map(zulu.surprise, written))


def test_the_noise_draws_from_the_models_distribution(model):
    inputs = torch.zeros(1, 1, dtype=torch.long)
    with torch.no_grad():
        logits = model(inputs)[0, -1].index_fill(0, torch.tensor(0), -torch.inf)  # no name is empty
    drawn = (logits + gumbel_noise(4000)[:, 0]).argmax(-1)
    shares = torch.bincount(drawn, minlength=len(logits)) / 4000
    assert (shares - logits.softmax(-1)).abs().max() < 0.03


def test_no_noise_writes_the_likeliest_letters(model):
    (written,) = sample_names(model, torch.zeros(1, names.MAX_LETTERS, len(names.ALPHABET)))
    inputs, targets = names.encode([written])
    with torch.no_grad():
        assert torch.equal(model(inputs).argmax(-1), targets)


def test_names_morph_a_letter_at_a_time(model):
    """A small change of the weights leaves most of the letters as they were."""
    noise = gumbel_noise(20)
    before = sample_names(model, noise)
    moved = load_name_gpt()
    with torch.no_grad():
        for parameter in moved.blocks.parameters():
            parameter.mul_(1.01)
    after = sample_names(moved, noise)
    assert sum(a == b for a, b in zip(before, after, strict=True)) >= 12


def test_a_missing_checkpoint_names_the_command_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "DATA", tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="name_gpt.safetensors is missing.*python data/make_bases.py"):
        load_name_gpt()
