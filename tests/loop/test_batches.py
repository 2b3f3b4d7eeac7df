"""What a run accepts as a batch."""

from collections import namedtuple

from lora_teach import LoRAModel, train, training_steps
from tests.toy import bits, filled, mlp, numbers, pairs, picture, same_bits

import pytest
import torch
from torch import nn

mse = nn.functional.mse_loss


def trained(batches, loss_fn=mse, base=mlp):
    """The losses of a short run."""
    model = filled(LoRAModel(base()))
    return [step.loss for step in training_steps(model, batches, loss_fn, lr=1e-2, steps=4)]


def test_targets_may_be_nested():
    nested = [(inputs, {"y": [targets]}) for inputs, targets in pairs()]
    assert trained(nested, lambda output, targets: mse(output, targets["y"][0])) == trained(pairs())


def test_batches_start_over_at_their_end(model):
    seen = []

    class Again:
        def __iter__(self):
            seen.append("again")
            return iter(pairs(2))

    train(model, Again(), mse, steps=5, progress=False)
    assert seen == ["again"] * 3


def test_no_batches_are_refused(model):
    with pytest.raises(ValueError, match="no batches.*at least one"):
        train(model, [], mse, progress=False)


class WithKeywords(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = mlp()

    def forward(self, x, labels=None):
        output = self.net(x)
        return {"output": output} if labels is None else Output(output, mse(output, labels))


Output = namedtuple("Output", "output loss")
Pair = namedtuple("Pair", "inputs targets")


def test_mappings_are_passed_as_keywords_and_the_outputs_loss_is_used():
    mappings = [{"x": inputs, "labels": targets} for inputs, targets in pairs()]
    assert trained(mappings, None, WithKeywords) == pytest.approx(trained(pairs()))


def test_a_loss_fn_gets_the_whole_mapping_as_targets():
    model = filled(LoRAModel(WithKeywords()))
    mappings = [{"x": inputs} for inputs, _ in pairs()]
    seen = []

    def loss_fn(output, targets):
        seen.append(list(targets))
        return output["output"].square().mean()

    list(training_steps(model, mappings, loss_fn, steps=2))
    assert seen == [["x"], ["x"]]


@pytest.mark.parametrize("kind", [list, tuple, lambda pair: Pair(*pair)])
def test_a_batch_is_a_list_a_tuple_or_a_namedtuple(kind):
    assert trained([kind(pair) for pair in pairs()]) == trained(pairs())


@pytest.mark.parametrize(
    "batches",
    [torch.zeros(2, 5, 6), [(numbers(8, 6),)], [(numbers(8, 6), numbers(8, 4), numbers(8))], [numbers(8, 6)], [3]],
    ids=["tensor", "one", "three", "bare", "number"],
)
def test_a_batch_of_another_form_is_refused_in_words(model, batches):
    before = picture(model)
    with pytest.raises(TypeError, match=r"\(inputs, targets\).*mapping"):
        train(model, batches, mse, progress=False)
    assert same_bits(before["bits"], bits(model))
    assert picture(model)["modes"] == before["modes"]


def test_a_one_shot_iterator_that_runs_out_says_so_and_leaves_a_usable_model(model):
    done = []
    with pytest.raises(ValueError, match="ran out after 3.*DataLoader or a list"):
        for step in training_steps(model, iter(pairs()), mse, steps=5):
            done.append(step)
            state = bits(model)
    assert len(done) == 3
    assert same_bits(state, bits(model))
    train(filled(LoRAModel(mlp())), iter(pairs()), mse, steps=3, progress=False)  # and one that lasts is fine


def test_a_loss_that_nobody_computes_is_refused(model):
    with pytest.raises(ValueError, match=r"no .loss.*loss_fn\(output, targets\)"):
        train(model, pairs(), progress=False)
