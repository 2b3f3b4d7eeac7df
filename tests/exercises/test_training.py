from fractions import Fraction
from itertools import cycle

from lora_teach import training_steps
from lora_teach.bases import evaluate, name_loss
from lora_teach.datasets import names
from lora_teach.exercises import TODO, check_best_strength, check_fit, ready_made
from lora_teach.measure.strength import strength_path

import numpy as np
import pytest
import torch


def best_strength(model, new, old, limit):
    allowed = {}
    for strength in [step / 10 for step in range(11)]:
        model.set_adapter({"default": strength})
        if evaluate(model, old) <= limit:
            allowed[strength] = evaluate(model, new)
    return min(allowed, key=allowed.get)


def test_the_right_strength_passes_whatever_strength_it_leaves():
    assert check_best_strength(best_strength).passed


def retrained(model, new, old, limit):
    for _ in training_steps(model, names.batches(old), name_loss, lr=1e-3, steps=2):
        pass
    return 1.0


def loss_in_place_of_strength(model, new, old, limit):
    model.set_adapter({"default": best_strength(model, new, old, limit)})
    return evaluate(model, new)


def the_greatest_allowed(model, new, old, limit):
    allowed = []
    for strength in [step / 10 for step in range(11)]:
        model.set_adapter({"default": strength})
        if evaluate(model, old) <= limit:
            allowed.append(strength)
    return max(allowed)


def whole_numbers(model, new, old, limit):
    allowed = {}
    for strength in range(10):
        model.set_adapter({"default": strength})
        if evaluate(model, old) <= limit:
            allowed[strength] = evaluate(model, new)
    return min(allowed, key=allowed.get)


def without_setting(model, new, old, limit):
    allowed = {strength / 10: evaluate(model, new) for strength in range(11) if evaluate(model, old) <= limit}
    return min(allowed, key=allowed.get)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (retrained, "its parameters should stay"),
        (the_greatest_allowed, "compare the losses on `new`"),
        (lambda model, new, old, limit: 0, "forgets nothing, and has learned nothing"),
        (lambda model, new, old, limit: 0.1, "a greater strength would be too"),
        (lambda model, new, old, limit: 1.0, "There `old` is above the limit"),
        (whole_numbers, "range(11) gives whole numbers"),
        (without_setting, 'Is model.set_adapter({"default": strength}) called'),
        (loss_in_place_of_strength, "return the strength"),
        (lambda model, new, old, limit: None, "expected: a strength"),
        (lambda model, new, old, limit: float("nan"), "expected: a strength"),
    ],
)
def test_usual_mistakes_with_the_strength(wrong, words):
    result = check_best_strength(wrong)
    assert result.status == "NOT YET" and words in result.message


def tidying(model, new, old, limit):
    best = best_strength(model, new, old, limit)
    model.set_adapter(None)
    return best


def finer(model, new, old, limit):
    path = strength_path(model, [step / 20 for step in range(21)], new, old)
    return min((loss, step / 20) for step, (loss, forgotten) in enumerate(path) if forgotten <= limit)[1]


def removing(model, new, old, limit):
    best = best_strength(model, new, old, limit)
    model.remove()
    return best


@pytest.mark.parametrize(
    "right",
    [
        tidying,
        finer,
        lambda *given: Fraction(round(10 * best_strength(*given)), 10),
        lambda *given: torch.tensor(best_strength(*given)),
        lambda m, wanted, kept, most: np.float32(best_strength(m, wanted, kept, most)),
    ],
)
def test_unusual_right_strengths_pass(right):
    result = check_best_strength(right)
    assert result.passed, result.message


def over(strengths):
    def searched(model, new, old, limit):
        path = zip(strength_path(model, strengths, new, old), strengths, strict=True)
        return min((loss, strength) for (loss, forgotten), strength in path if forgotten <= limit)[1]

    return searched


@pytest.mark.parametrize(
    "wrong",
    [
        over([step / 10 for step in range(6)]),  # half the range
        over([step / 10 for step in range(8)]),
        over([step / 10 for step in range(10)]),
        over([step / 10 for step in range(1, 11)]),
        over([0, 0.5, 1]),
        lambda model, new, old, limit: 0.6,
        lambda model, new, old, limit: {3.76: 1.0, 2.44: 0.3, 2.12: 0.0}.get(limit, 1.0),
        lambda model, new, old, limit: best_strength(model, new, old, limit) * 10,
        lambda model, new, old, limit: best_strength(model, new, old, 9.0),  # ignores the limit
        lambda model, new, old, limit: best_strength(model, old, new, limit),
        lambda model, new, old, limit: str(best_strength(model, new, old, limit)),
        lambda model, new, old, limit: best_strength(model, new, old, limit) + 0.1,
        lambda model, new, old, limit: best_strength(model, new, old, limit) - 0.1,
        lambda model, new, old, limit: best_strength(model, new, old, limit) if new.clear() else 0.6,
        removing,
        lambda model, new, old, limit: True,
        lambda model, new, old, limit: -1.0,
    ],
)
def test_wrong_strengths_do_not_pass(wrong):
    assert check_best_strength(wrong).status == "NOT YET"


def fitting(kind=torch.optim.AdamW, decay=0.0, zero=True, every=None, judged=None, back=True, clone=True, stream=cycle,
            more=0, what=None, pick=min, returned=None, with_validation=False, rate=None, start=False):  # fmt: skip
    """A fit whose parts can be exchanged for wrong ones."""

    def fit(model, layers, batches, loss_fn, validation, lr, steps, every_):
        given = what(model, layers) if what else [p for layer in layers.values() for p in layer.parameters()]
        optimizer = kind(given, lr=rate or lr, weight_decay=decay)
        parameters = [p for layer in layers.values() for p in layer.parameters()]
        best, kept, losses = None, [], []
        if start:
            best, kept = loss_fn(model(validation[0]), validation[1]).item(), [p.detach().clone() for p in parameters]
        for step, (inputs, targets) in zip(range(1, steps + 1 + more), stream(batches), strict=False):
            if zero:
                optimizer.zero_grad()
            loss_fn(model(inputs), targets).backward()
            optimizer.step()
            if step % (every or every_) == 0:
                look = judged(batches) if judged else validation
                loss = loss_fn(model(look[0]), look[1])
                if with_validation:
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                losses.append(loss.item())
                if best is None or pick(losses[-1], best) == losses[-1]:
                    best, kept = losses[-1], [p.detach().clone() if clone else p.detach() for p in parameters]
        if back:
            with torch.no_grad():
                for p, number in zip(parameters, kept, strict=True):
                    p.copy_(number)
        return returned(losses) if returned else best

    return fit


def by_state_dicts(model, layers, batches, loss_fn, validation, lr, steps, every):
    optimizer = torch.optim.Adam([{"params": layer.parameters()} for layer in layers.values()], lr=lr)
    looks, step = [], 0
    model.train()
    while step < steps:
        for batch in batches:
            if step == steps:
                break
            step += 1
            for layer in layers.values():
                layer.zero_grad()
            loss_fn(model(batch[0]), batch[1]).backward()
            optimizer.step()
            if not step % every:
                model.eval()
                state = {n: {k: v.clone() for k, v in layer.state_dict().items()} for n, layer in layers.items()}
                looks.append((loss_fn(model(validation[0]), validation[1]).item(), len(looks), state))
                model.train()
    loss, _, state = min(looks)
    for name, layer in layers.items():
        layer.load_state_dict(state[name])
    return torch.tensor(loss)


RIGHT_FITS = {
    "the usual": fitting(),
    "the library's": ready_made.fit,
    "by state dicts, with Adam": by_state_dicts,
    "with amsgrad left off, in one group": fitting(kind=lambda p, **o: torch.optim.AdamW([{"params": p}], **o)),
    "a list of the batches, repeated": fitting(stream=lambda batches: list(batches) * 40),
}


@pytest.mark.parametrize("right", RIGHT_FITS.values(), ids=RIGHT_FITS)
def test_right_loops_pass(right):
    result = check_fit(right)
    assert result.passed, result.message


@pytest.mark.parametrize("stub", [TODO, lambda *given: TODO, fitting(returned=lambda losses: TODO)])
def test_blank_loops_are_todo(stub):
    assert check_fit(stub).status == "TODO"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (fitting(back=False), "the numbers of the last step"),
        (fitting(clone=False), "go back to those of the best"),
        (fitting(zero=False), "The gradients of all steps add up"),
        (fitting(decay=0.01), "weight_decay=0"),
        (fitting(every=1), "the best of all steps"),
        (fitting(start=True), "The start was kept"),
        (fitting(judged=lambda batches: batches[0]), "never looked at"),
        (fitting(pick=max), "the numbers of the highest loss"),
        (fitting(what=lambda model, layers: layers["0"].parameters()), "Only the first layer learnt"),
        (fitting(rate=1e-3), "The learning rate was not used"),
        (fitting(kind=torch.optim.SGD), "the exercise asks for AdamW"),
        (fitting(with_validation=True), "learns from the validation batch"),
        (fitting(stream=iter), "The batches end"),
        (fitting(more=1), "steps were asked for"),
        (fitting(more=-1), "steps were asked for"),
        (fitting(what=lambda model, layers: [*model.parameters(), *layers["0"].parameters()]), "of the model moved"),
        (fitting(what=lambda model, layers: model.parameters()), "of the model moved"),
        (fitting(returned=lambda losses: losses[-1]), "return the best"),
        (fitting(returned=lambda losses: None), "is a return missing"),
        (fitting(every=10_000), "never looked at"),
    ],
)
def test_wrong_loops_do_not_pass(wrong, words):
    result = check_fit(wrong)
    assert result.status == "NOT YET" and words in result.message, result.message
