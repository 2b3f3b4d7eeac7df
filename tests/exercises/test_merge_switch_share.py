import copy
import sys

from lora_teach.exercises import TODO, check_mix, check_undo

import numpy as np
import pytest
import torch


def mix(layers, weights):
    A = torch.cat([layer.lora_A for layer in layers], dim=1)
    B = torch.cat([w * layer.scaling * layer.lora_B for layer, w in zip(layers, weights, strict=True)], dim=0)
    return A, B


def weights_and_scalings_in_A(layers, weights):
    A = torch.cat([w * layer.scaling * layer.lora_A for layer, w in zip(layers, weights, strict=True)], dim=1)
    return A, torch.cat([layer.lora_B for layer in layers])


@pytest.mark.parametrize("right", [mix, weights_and_scalings_in_A, lambda *given: list(mix(*given))])
def test_the_sum_of_products_passes(right):
    result = check_mix(right)
    assert result.passed and "sum of the two" in result.message


@pytest.mark.parametrize("stub", [(TODO, TODO), (..., ...)])
def test_a_blank_mix_is_todo(stub):
    assert check_mix(lambda layers, weights: stub).status == "TODO"


def averaging(weighting, scaled, root=1):
    """Averages the A's and the B's: ``weighting`` of the two weights gives each adapter's share."""

    def wrong(layers, weights):
        shares = [weight**root for weight in weighting(weights)]
        A = sum(share * layer.lora_A for share, layer in zip(shares, layers, strict=True))
        B = sum(share * scaled(layer) * layer.lora_B for share, layer in zip(shares, layers, strict=True))
        return A, B

    return wrong


def pefts_linear(layers, weights):
    shares = [(weight * layer.scaling) ** 0.5 for layer, weight in zip(layers, weights, strict=True)]
    A = sum(share * layer.lora_A for share, layer in zip(shares, layers, strict=True))
    return A, sum(share * layer.lora_B for share, layer in zip(shares, layers, strict=True))


def stacked(of_A, of_B):
    """Side by side and on top, with these factors of (weight, scaling)."""

    def wrong(layers, weights):
        pairs = [(layer, weight, layer.scaling) for layer, weight in zip(layers, weights, strict=True)]
        A = torch.cat([of_A(weight, scale) * layer.lora_A for layer, weight, scale in pairs], dim=1)
        return A, torch.cat([of_B(weight, scale) * layer.lora_B for layer, weight, scale in pairs])

    return wrong


def summed(of_A, of_B):
    """A mix that adds the A's up, and the B's, each times a factor of its own."""

    def mixed(layers, weights):
        given = list(zip(weights, layers, strict=True))
        A = sum(of_A(weight, layer.scaling) * layer.lora_A for weight, layer in given)
        return A, sum(of_B(weight, layer.scaling) * layer.lora_B for weight, layer in given)

    return mixed


def both_on_top(layers, weights):
    return torch.cat([layer.lora_A for layer in layers]), torch.cat([layer.lora_B for layer in layers])


def whole(layers, weights):
    A, B = mix(layers, weights)
    return torch.eye(6), A @ B


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (averaging(lambda weights: [0.5, 0.5], lambda layer: 1), "Their product holds each A with each B"),
        (averaging(lambda weights: weights, lambda layer: 1), "Their product holds each A with each B"),
        (averaging(lambda weights: weights, lambda layer: layer.scaling), "Their product holds each A with each B"),
        (averaging(lambda weights: weights, lambda layer: layer.scaling, 0.5), "Their product holds each A"),
        (pefts_linear, "Their product holds each A with each B"),
        (stacked(lambda w, s: 1, lambda w, s: w), "The scalings are lost"),
        (stacked(lambda w, s: s, lambda w, s: 1), "The weights are lost"),
        (stacked(lambda w, s: 1, lambda w, s: 1), "Weights and scalings are lost"),
        (stacked(lambda w, s: w, lambda w, s: w * s), "Each weight is there twice"),
        (stacked(lambda w, s: s, lambda w, s: w * s), "Each scaling is there twice"),
        (lambda layers, weights: mix(layers, weights)[::-1], "That is B, A; return A, B"),
        (
            lambda layers, weights: tuple(one.T for one in mix(layers, weights)[::-1]),
            "is the update as a weight, (out, in)",
        ),
        (stacked(lambda w, s: w * s, lambda w, s: w * s), "Weight and scaling are there twice"),
        (summed(lambda w, s: w, lambda w, s: s), "Their product holds each A with each B"),
        (summed(lambda w, s: 1, lambda w, s: w * s), "Their product holds each A with each B"),
        (both_on_top, "side by side"),
        (whole, "an inner size of 6; 2 + 2 is enough"),
        (lambda layers, weights: layers[0].delta_weight(), "return the two tensors A, B; came: Tensor"),
        (lambda layers, weights: None, "return the two tensors A, B; came: NoneType"),
        (lambda layers, weights: layers[0].lora_A @ layers[1].lora_A, "the code raised RuntimeError"),
    ],
)
def test_usual_mistakes_in_mixing_are_named(wrong, words):
    result = check_mix(wrong)
    assert result.status == "NOT YET" and words in result.message


def test_a_lower_rank_that_does_is_right():
    def by_svd(layers, weights):
        A, B = (one.detach() for one in mix(layers, weights))
        U, sigma, Vh = torch.linalg.svd(A @ B, full_matrices=False)
        return U[:, : A.shape[1]] * sigma[: A.shape[1]], Vh[: A.shape[1]]

    assert check_mix(by_svd).passed


def test_averaging_that_only_one_rank_lets_pass_is_found_at_the_second():
    def equal_ranks_only(layers, weights):
        if layers[0].rank == layers[1].rank:
            return mix(layers, weights)
        return averaging(lambda weights: weights, lambda layer: 1)(layers, weights)

    assert check_mix(equal_ranks_only).status == "NOT YET"


def merge(linear, lora):
    backup = linear.weight.detach().clone()
    with torch.no_grad():
        linear.weight += lora.delta_weight()
    return backup


def unmerge(linear, backup):
    with torch.no_grad():
        linear.weight.copy_(backup)


def copy_of_all(linear, lora):
    backup = {name: value.clone() for name, value in linear.state_dict().items()}
    merge(linear, lora)
    return backup


def give_up_the_memory(linear, backup):
    linear.weight.data = backup


@pytest.mark.parametrize(
    ("right", "back"),
    [
        (merge, unmerge),
        (merge, give_up_the_memory),
        (copy_of_all, lambda linear, backup: linear.load_state_dict(backup)),
    ],
)
def test_a_backup_that_is_copied_back_passes(right, back):
    result = check_undo(right, back)
    assert result.passed and "3,672 weights" in result.message


def test_a_blank_undo_is_todo():
    assert check_undo(TODO, unmerge).status == "TODO"


def keeps_the_update(linear, lora):
    merge(linear, lora)
    return lora.delta_weight().detach()


def subtract(linear, delta):
    with torch.no_grad():
        linear.weight -= delta


def another_name(linear, lora):
    backup = linear.weight.detach()
    merge(linear, lora)
    return backup


def with_history(linear, lora):
    backup = linear.weight.detach().clone()
    linear.weight += lora.delta_weight()
    return backup


def with_silent_history(linear, lora):
    backup = linear.weight.detach().clone()
    linear.weight.copy_(linear.weight + lora.delta_weight())
    return backup


def new_parameter(linear, lora):
    backup = linear.weight
    linear.weight = torch.nn.Parameter(linear.weight + lora.delta_weight().detach(), requires_grad=False)
    return backup


def put_another(linear, backup):
    linear.weight = torch.nn.Parameter(backup, requires_grad=False)


last = {}


def forgets_to_return(linear, lora):
    merge(linear, lora)


def keeps_one_for_all(linear, lora):
    last["backup"] = merge(linear, lora)


def in_half_precision(linear, lora):
    return merge(linear, lora).half()


@pytest.mark.parametrize(
    ("wrong", "back", "words"),
    [
        (keeps_the_update, subtract, "subtracting ΔW can't bring back what that lost"),
        (another_name, unmerge, "so it was merged too"),
        (with_history, unmerge, "merge could not set linear.weight: it was computed from A and B, which train"),
        (with_silent_history, unmerge, "after merge the frozen weight requires a gradient"),
        (new_parameter, unmerge, "another Parameter"),
        (merge, put_another, "after unmerge linear.weight is another Parameter"),
        (merge, lambda linear, backup: None, "unmerge changed nothing"),
        (keeps_one_for_all, lambda linear, backup: unmerge(linear, last["backup"]), "That is not the old weight"),
        (in_half_precision, unmerge, "other bits"),
        (forgets_to_return, unmerge, "merge returned nothing"),
        (lambda linear, lora: linear.weight.clone(), unmerge, "The weight has not changed"),
        (lambda linear, lora: unmerge(linear, lora.delta_weight()), unmerge, "That is the update alone"),
        (lambda linear, lora: subtract(linear, lora.delta_weight()), unmerge, "The update was subtracted"),
        (lambda linear, lora: subtract(linear, lora.lora_A @ lora.lora_B), unmerge, "the code raised RuntimeError"),
        (lambda linear, lora: subtract(linear, -(lora.lora_A @ lora.lora_B).T), unmerge, "The scaling is lost"),
    ],
)
def test_usual_mistakes_in_undoing_are_named(wrong, back, words):
    result = check_undo(wrong, back)
    assert result.status == "NOT YET" and words in result.message


def test_subtraction_is_told_how_many_weights_it_changed():
    message = check_undo(keeps_the_update, subtract).message
    assert "of 1,536 weights" in message and "off by up to" in message


def test_the_checks_leave_the_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    check_mix(mix)
    check_undo(merge, unmerge)
    assert torch.rand(1) == expected


def products(layers, weights):
    return [w * layer.scaling * layer.lora_A @ layer.lora_B for layer, w in zip(layers, weights, strict=True)]


def by_hand(layers, weights):
    """Block by block into zeros."""
    ranks = [layer.rank for layer in layers]
    A, B, start = torch.zeros(6, sum(ranks)), torch.zeros(sum(ranks), 5), 0
    for layer, weight in zip(layers, weights, strict=True):
        A[:, start : start + layer.rank] = layer.lora_A
        B[start : start + layer.rank] = weight * layer.scaling * layer.lora_B
        start += layer.rank
    return A, B


def in_reverse(layers, weights):
    return mix(layers[::-1], weights[::-1])


@pytest.mark.parametrize(
    "right",
    [
        by_hand,
        in_reverse,
        lambda layers, weights: [one.detach().numpy() for one in mix(layers, weights)],
        lambda adapters, shares: [one.double() for one in mix(adapters, shares)],
        lambda layers, weights: [one.tolist() for one in mix(layers, weights)],
        lambda layers, weights: (
            torch.hstack([abs(w) ** 0.5 * one.lora_A for one, w in zip(layers, weights, strict=True)]),
            torch.vstack(
                [np.sign(w) * abs(w) ** 0.5 * one.scaling * one.lora_B for one, w in zip(layers, weights, strict=True)]
            ),
        ),
    ],
)
def test_unusual_right_mixtures_pass(right):
    result = check_mix(right)
    assert result.passed, result.message


def in_place(layers, weights):
    for layer, weight in zip(layers, weights, strict=True):
        layer.lora_B.data *= weight * layer.scaling
    return mix_plain(layers)


def mix_plain(layers):
    return torch.cat([layer.lora_A for layer in layers], dim=1), torch.cat([layer.lora_B for layer in layers])


def by_svd(layers, weights):
    U, sigma, Vh = torch.linalg.svd(sum(products(layers, weights)))
    return U[:, :2] * sigma[:2], Vh[:2]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda layers, weights: mix(layers[:2], weights[:2]), "more than two layers"),
        (lambda layers, weights: mix(layers[:2], [weights[0], 1 - weights[0]][: len(layers)]), "came"),
        (lambda layers, weights: mix(layers, [w / sum(weights) for w in weights]), "add up to 1"),
        (lambda layers, weights: mix(layers, [abs(w) for w in weights]), "came"),
        (in_place, "changed its input layers in place"),
        (by_svd, "came"),
        (lambda layers, weights: mix(layers, weights[::-1]), "came"),
        (lambda layers, weights: mix(layers, [0.25, 0.75, 0.0][: len(layers)]), "came"),
        (lambda layers, weights: sum(products(layers, weights)), "return the two tensors"),
        (lambda layers, weights: (*mix(layers, weights), weights), "return the two tensors"),
        (lambda layers, weights: mix(layers, [1.5 * w / one.scaling for one, w in zip(layers, weights, strict=True)]),
         "came"),
    ],
)  # fmt: skip
def test_wrong_mixtures_do_not_pass(wrong, words):
    result = check_mix(wrong)
    assert result.status == "NOT YET" and words in result.message


def on_the_module(linear, lora):
    linear.before = merge(linear, lora)


def off_the_module(linear, backup):
    unmerge(linear, linear.before)


store = {}


def under_a_key(linear, lora):
    store[len(store)] = merge(linear, lora)
    return len(store) - 1


def by_data(linear, lora):
    backup = linear.weight.data.numpy().copy()
    linear.weight.data += lora.scaling * (lora.lora_A @ lora.lora_B).T.data
    return backup


def a_whole_copy(frozen, adapter):
    kept = copy.deepcopy(frozen)
    merge(frozen, adapter)
    return kept


def wide(linear, lora):
    return (merge(linear, lora).double(), "float64")


@pytest.mark.parametrize(
    ("right", "back"),
    [
        (on_the_module, off_the_module),
        (under_a_key, lambda linear, backup: unmerge(linear, store[backup])),
        (by_data, lambda layer, kept: unmerge(layer, torch.from_numpy(kept))),
        (wide, lambda linear, backup: unmerge(linear, backup[0].float())),
        (a_whole_copy, lambda linear, backup: linear.load_state_dict(backup.state_dict())),
        (lambda linear, lora: [merge(linear, lora)], lambda linear, backup: linear.weight.data.copy_(backup.pop())),
    ],
)  # fmt: skip
def test_unusual_right_undoing_passes(right, back):
    result = check_undo(right, back)
    assert result.passed, result.message


def biased(linear, lora):
    backup = merge(linear, lora)
    if linear.bias is not None:
        linear.bias.add_(1)
    return backup


def without_bias(linear, lora):
    backup = merge(linear, lora)
    linear.bias = None
    return backup


def used_up(linear, lora):
    backup = merge(linear, lora)
    torch.nn.init.zeros_(lora.lora_B)
    return backup


def trainable(linear, backup):
    unmerge(linear, backup)
    linear.weight.requires_grad_(True)


def hard_coded(linear, lora):
    backup = linear.weight.clone()
    with torch.no_grad():
        linear.weight += 0.5 * (lora.lora_A @ lora.lora_B).T
    return backup


def twice(linear, lora):
    backup = merge(linear, lora)
    merge(linear, lora)
    return backup


def merged_backup(linear, lora):
    merge(linear, lora)
    return linear.weight.detach().clone()


@pytest.mark.parametrize(
    ("wrong", "back", "words"),
    [
        (biased, unmerge, "the bias is another"),
        (without_bias, unmerge, "the bias is another"),
        (used_up, unmerge, "changed its input layer in place"),
        (merge, trainable, "after unmerge the frozen weight requires a gradient"),
        (hard_coded, unmerge, "differ most"),
        (twice, unmerge, "came"),
        (merged_backup, unmerge, "unmerge changed nothing"),
        (merge, lambda linear, backup: torch.nn.init.zeros_(linear.weight), "That is not the old weight"),
        (merge, lambda linear, backup: unmerge(linear, backup + 1e-7), "other bits"),
        (merge, lambda linear, backup: unmerge(linear, backup.bfloat16()), "other bits"),
        (lambda linear, lora: merge(linear, lora).T, unmerge, "the code raised RuntimeError"),
        (lambda linear, lora: sys.exit(), unmerge, "SystemExit"),
    ],
)
def test_wrong_undoing_does_not_pass(wrong, back, words):
    result = check_undo(wrong, back)
    assert result.status == "NOT YET" and words in result.message


def test_an_unfinished_unmerge_is_named():
    assert check_undo(merge, TODO).message == "write unmerge, then run this cell again."

    def unmerge(linear, backup):
        linear.weight.copy_(TODO)

    assert check_undo(merge, unmerge).message == "write unmerge, then run this cell again."
