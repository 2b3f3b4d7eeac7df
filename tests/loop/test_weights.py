"""An update on several parts of a batch learns what one on all of them would."""

from functools import partial

from lora_teach import LoRAModel, train, training_steps
from lora_teach.loop.weights import counted, weights_of
from tests.tiny_language_model import tiny_model
from tests.toy import TinyGPT, bits, filled, mlp, pairs, same_bits, tokens

import pytest
import torch
from torch import nn

mse = nn.functional.mse_loss


def letters(logits, targets):
    return nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


def ragged(seed):
    """Two rows of letters, with a different number of targets in each."""
    targets = tokens(2, 5, seed=seed + 50)
    targets[0, : 1 + seed % 4] = -100
    return tokens(2, 5, seed=seed), targets


def chat(seed):
    """The same as a language model takes it: the first label would count if it were not shifted away."""
    ids, labels = ragged(seed)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


def joined(parts):
    if isinstance(parts[0], dict):
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    return tuple(map(torch.cat, zip(*parts, strict=True)))


def still():
    """A TinyGPT without dropout, which would draw other numbers for other batches."""
    model = TinyGPT()
    for block in model.blocks:
        block.dropout.p = 0.0
    return model


CASES = {
    "numbers": (mlp, pairs(4, size=3) + pairs(4, size=2), mse),
    "letters": (still, [ragged(seed) for seed in range(8)], letters),
    "chats": (tiny_model, [chat(seed) for seed in range(8)], None),
}


@pytest.mark.parametrize("case", CASES)
def test_four_batches_teach_what_one_of_all_their_rows_would(case):
    make, parts, loss_fn = CASES[case]

    def trained(batches, **options):
        model = filled(LoRAModel(make().eval(), rank=2), std=0.1)
        return model, train(model, batches, loss_fn, lr=1e-2, steps=6, progress=False, **options)

    model, history = trained(parts, accumulate=4)
    whole, expected = trained([joined(parts[:4]), joined(parts[4:])])
    assert history.loss == pytest.approx(expected.loss, rel=1e-5)
    for own, one in zip(model.trainable_parameters(), whole.trainable_parameters(), strict=True):
        assert torch.allclose(own, one, atol=1e-5)


def test_a_part_without_any_target_weighs_nothing():
    inputs, targets = ragged(0)
    parts = [(inputs, targets), (inputs, torch.full_like(targets, -100))]
    model, whole = (filled(LoRAModel(TinyGPT(), rank=2)) for _ in range(2))
    both = train(model, parts, letters, steps=3, accumulate=2, seed=4, progress=False)
    assert torch.isfinite(torch.tensor(both.loss)).all()
    assert both.loss[0] == pytest.approx(train(whole, parts[:1], letters, steps=1, seed=4, progress=False).loss[0])


def test_targets_are_counted_as_the_loss_counts_them():
    targets = torch.tensor([[1, 2, -100], [-100, 0, 0]])
    assert counted((targets, targets), letters, None) == 4
    assert counted((targets, targets), nn.CrossEntropyLoss(ignore_index=0), None) == 4
    assert counted((targets, targets), partial(nn.functional.cross_entropy, ignore_index=1), None) == 5
    assert counted((targets, targets.float()), mse, None) == 6
    llama = tiny_model()
    assert counted({"labels": targets}, None, llama) == 3
    assert counted({"labels": targets}, None, LoRAModel(llama)) == 3
    assert counted({"labels": targets}, letters, llama) == 4
    assert counted({"labels": torch.tensor([1, 0, 1])}, None, llama) == 3
    assert counted({"input_ids": targets}, None, llama) == 2


def test_one_batch_weighs_one_and_batches_without_targets_weigh_alike():
    nothing = torch.full((2, 2), -100)
    assert weights_of([(nothing, nothing)], letters, None) == [1.0]
    assert weights_of([(nothing, nothing)] * 4, letters, None) == [0.25] * 4


@pytest.mark.parametrize(
    ("loss_fn", "words"),
    [
        (nn.MSELoss(reduction="sum"), "reduction='sum'.*Use reduction='mean'"),
        (partial(mse, reduction="sum"), "reduction='sum'"),
        (nn.CrossEntropyLoss(weight=torch.ones(4)), "weighs its targets"),
    ],
)
def test_a_loss_that_is_no_plain_mean_is_refused(loss_fn, words):
    model = LoRAModel(mlp())
    with pytest.raises(ValueError, match=words):
        train(model, pairs(), loss_fn, steps=2, accumulate=2, progress=False)


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (1.5, TypeError)])
def test_accumulate_is_a_whole_number_of_at_least_one(value, error):
    with pytest.raises(error, match=f"accumulate={value}"):
        train(LoRAModel(mlp()), pairs(), mse, steps=1, accumulate=value, progress=False)


def test_a_kept_run_goes_on_to_the_same_bits_and_only_with_as_many(tmp_path):
    def run(folder, seen=None, accumulate=2):
        model = filled(LoRAModel(TinyGPT(), rank=2, dropout=0.2))
        batches = torch.utils.data.DataLoader(list(zip(*joined([ragged(n) for n in range(5)]), strict=True)), 3, True)
        options = {"steps": 6, "accumulate": accumulate, "checkpoint": folder, "checkpoint_every": 2}
        for step in training_steps(model, batches, letters, **options):
            if step.index == seen:
                break
        return bits(model)

    whole = run(tmp_path / "whole")
    run(tmp_path / "broken", seen=5)
    with pytest.raises(ValueError, match="accumulate=2, and this one has accumulate=None"):
        run(tmp_path / "broken", accumulate=1)
    assert same_bits(run(tmp_path / "broken"), whole)


def test_gpt2_shifts_its_labels_though_it_names_no_loss():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=20, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=1)
    model = LoRAModel(transformers.GPT2LMHeadModel(config), rank=2, target_modules=["c_attn"])
    batch = chat(0) | {"labels": tokens(2, 5, seed=3)}
    assert counted(batch, None, model) == 8  # 2 rows of 5, whose first are never predicted
