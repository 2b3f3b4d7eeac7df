"""Checks of notebook 04: the loop with validation, and an adapter turned down to a limit."""

from math import isfinite

from lora_teach.bases import load_language_adapter, load_name_gpt
from lora_teach.datasets import names
from lora_teach.exercises.check import Draw, attempt, cases, check, compare, describe, expect
from lora_teach.exercises.compare import as_tensor
from lora_teach.layer import LoRALayer
from lora_teach.measure.strength import strength_path

import torch
from torch import nn
from torch.nn import functional as F

STRENGTHS = [step / 10 for step in range(11)]  # 0, 0.1 … 1
TOLERANCE = 0.001  # nats that a strength may be worse than the best of these


@check
def check_fit(fit):
    """Check ``fit(model, layers, batches, loss_fn, validation, lr, steps, every)``: the loop, and back to the best."""
    for seed, (lr, steps, every) in cases([(1, (0.05, 40, 4)), (9, (0.05, 15, 5)), (22, (0.2, 9, 3))]):
        run = _Run(seed, lr, steps, every)
        ends, wrong = run.by_hand()  # first: what torch loads for its first optimiser is not the learner's time
        model, layers, frozen = run.start()
        seen = []
        given = {"batches": run.batches, "loss_fn": run.counting(seen), "validation": run.validation}
        given |= {"lr": lr, "steps": steps, "every": every}
        try:
            got = attempt(fit, ("model", "layers"), model=model, layers=layers, **given)
        except (TypeError, ValueError, IndexError, NameError):  # such as nothing kept to go back to
            expect(not _ended(seen, run), _ended(seen, run))
            raise
        expect(not _ended(seen, run), _ended(seen, run))
        trained = seen.count("train")
        expect(
            trained == steps,
            f"loss_fn was called {trained} times on training batches, and {steps} steps were asked for.",
        )
        expect("strange" not in seen, "loss_fn was given targets that stand in no batch.")
        moved = [name for name, one in model.named_parameters() if not torch.equal(one, frozen[name])]
        expect(not moved, f"{', '.join(moved)} of the model moved: give the optimiser the layers' parameters alone.")
        numbers = torch.cat([one.detach().flatten() for layer in layers.values() for one in layer.parameters()])
        compare(numbers, ends[1], [(one, said) for (_, one), said in wrong],
                what="the numbers in A and B afterwards", rtol=2e-3, atol=2e-4)  # fmt: skip
        losses = [
            (loss, "That is another run's loss: return the best on the validation batch.") for (loss, _), _ in wrong
        ]
        compare(
            got,
            ends[0],
            [(ends[2], "That is the last one: return the best."), *losses],
            rtol=2e-3,
            what="the loss that fit returns",
        )
    return "the right number of steps, the base untouched, and back to the best validation loss."


def _ended(seen, run):
    """Say what is missing in a run that went to its end, if it is a thing of its own."""
    trained = seen.count("train")
    if trained == len(run.batches) < run.steps:
        return f"It took {trained} of {run.steps} steps. The batches end: begin them again, with itertools.cycle."
    return "The validation batch was never looked at." if trained >= run.steps and "validation" not in seen else ""


class _Batch(tuple):
    def __repr__(self):
        return f"(inputs, targets) of {len(self[0])} rows"


class _Batches(tuple):
    def __repr__(self):
        return f"{len(self)} batches"


class _Run:
    """A run small enough to be done over and over: two linear layers, their LoRALayers, three batches and one more."""

    def __init__(self, seed, lr, steps, every):
        draw = Draw(seed)
        self.lr, self.steps, self.every = lr, steps, every
        self.numbers = [(draw.matrix(out, 6) / 3, draw.matrix(out), draw.matrix(6, 2) / 3) for out in (6, 3)]
        shifts = [draw.matrix(out, 6) / 3 for out in (6, 3)]

        def task(x, size):
            for (weight, bias, _), shift in zip(self.numbers, shifts, strict=True):
                x = x @ (weight + size * shift).T + bias
            return x

        inputs = [draw.matrix(5, 6) for _ in range(3)]
        self.batches = _Batches(_Batch((x, task(x, 1.0) + draw.matrix(5, 3))) for x in inputs)
        x = draw.matrix(8, 6)
        self.validation = _Batch((x, task(x, 0.6)))

    def start(self):
        """Return the hooked model, its layers, and a copy of the frozen numbers."""
        model = nn.Sequential(
            nn.Linear(6, 6), nn.Linear(6, 3)
        )  # that it would train shows what the optimiser was given
        layers = {"0": LoRALayer(6, 6, rank=2), "1": LoRALayer(6, 3, rank=2)}
        for linear, layer, numbers in zip(model, layers.values(), self.numbers, strict=True):
            with torch.no_grad():
                for one, number in zip((linear.weight, linear.bias, layer.lora_A), numbers, strict=True):
                    one.copy_(number)
            linear.register_forward_hook(lambda module, args, output, layer=layer: output + layer(args[0]))
        return model, layers, {name: one.detach().clone() for name, one in model.named_parameters()}

    def counting(self, seen):
        """Return the loss; it notes whose targets it was given."""

        def loss_fn(output, targets):
            known = [("validation", self.validation[1]), *(("train", one) for _, one in self.batches)]
            seen.append(next((name for name, one in known if torch.equal(one, targets)), "strange"))
            return F.mse_loss(output, targets)

        return loss_fn

    def by_hand(self):
        """Return (best loss, the numbers then, last loss), and pairs (that of a mistake, what to say)."""
        right = self.train()
        mistakes = [
            (self.train(best=max), "Those are the numbers of the highest loss: go back to those of the lowest."),
            (self.train(back=False), "These are the numbers of the last step: go back to those of the best, and "
             "keep copies, .detach().clone(), since the optimiser goes on in the same memory."),
            (self.train(zero=False), "The gradients of all steps add up: optimizer.zero_grad() belongs in each step."),
            (self.train(weight_decay=0.01), "AdamW's own weight decay, 0.01, pulls A and B to zero: weight_decay=0."),
            (self.train(start=True), "The start was kept: look after every `every` steps, not before the first."),
            (self.train(every=1), "That is the best of all steps: look after every `every` steps alone."),
            (self.train(only="0"), "Only the first layer learnt: give the optimiser the parameters of all layers."),
            (self.train(only="1"), "Only the last layer learnt: give the optimiser the parameters of all layers."),
            (self.train(judge=self.batches[0]), "The best was chosen on a training batch: use the validation batch."),
            (self.train(lr=1e-3), "The learning rate was not used."),
            (self.train(kind=torch.optim.SGD), "That is plain gradient descent; the exercise asks for AdamW."),
            (self.train(early=True), "It looks before the step, so the numbers are one step older than their loss."),
            (self.train(also=True), "It learns from the validation batch too: no backward there."),
        ]  # fmt: skip
        different = [
            (one[:2], said) for one, said in mistakes if not torch.allclose(one[1], right[1], rtol=1e-2, atol=1e-3)
        ]
        return right, different

    def train(self, back=True, zero=True, every=None, judge=None, lr=None, early=False, also=False, start=False,
              kind=torch.optim.AdamW, weight_decay=0.0, best=min, only=None):  # fmt: skip
        """Return (best loss, the numbers then, last loss); the arguments make the usual mistakes."""
        model, layers, _ = self.start()
        parameters = [one for layer in layers.values() for one in layer.parameters()]
        optimizer = kind(layers[only].parameters() if only else parameters, lr=lr or self.lr, weight_decay=weight_decay)
        looks = []
        if start:
            inputs, targets = self.validation
            looks.append((F.mse_loss(model(inputs), targets).item(), _copy(parameters)))
        for step in range(1, self.steps + 1):
            before = _copy(parameters)
            inputs, targets = self.batches[(step - 1) % len(self.batches)]
            if zero:
                optimizer.zero_grad()
            F.mse_loss(model(inputs), targets).backward()
            optimizer.step()
            if step % (every or self.every) == 0:
                inputs, targets = judge or self.validation
                loss = F.mse_loss(model(inputs), targets)
                if also:
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                looks.append((loss.item(), before if early else _copy(parameters)))
        loss, numbers = best(looks, key=lambda look: look[0])
        return loss, numbers if back else _copy(parameters), looks[-1][0]


def _copy(parameters):
    return torch.cat([one.detach().flatten() for one in parameters])


@check
def check_best_strength(best_strength):
    """Check ``best_strength(model, new, old, limit)``: of the strengths within the limit, the best on ``new``."""
    model = load_language_adapter(load_name_gpt(), "Zulu", "default")
    zulu, english = names.load("Zulu").validation[:20], names.load("English").validation[:30]
    losses = strength_path(model, STRENGTHS, zulu, english)
    turned = [(old, new) for new, old in losses]
    given = [(zulu, english, losses, round(0.01 + losses[at][1], 2)) for at in (3, 10, 0)]  # both ends, and between
    given += [(english, zulu, turned, round((losses[4][0] + losses[5][0]) / 2, 2))]  # 0.5 and above keep this limit
    for new, old, path, limit in cases(given):
        try:
            got = attempt(best_strength, model=model, new=new, old=old, limit=limit)
        except ValueError as error:  # of min, which got nothing
            expect(
                "empty" not in str(error),
                'Nothing kept the limit. Is model.set_adapter({"default": strength}) called before each loss? And is 0 '
                "one of the strengths?",
            )
            raise
        number = as_tensor(got)
        expect(
            number is not None and number.numel() == 1 and not isinstance(got, bool) and isfinite(number.item()),
            f"came:     {describe(got)}\n  expected: a strength, a number from 0 to 1.",
        )
        _judge(round(number.item(), 6), strength_path(model, [number.item()], new, old)[0], path, limit)
    return "found for four limits, without training anything."


def _judge(got, losses, path, limit):
    """End the check unless the strength ``got``, with these two losses, is as good as any of ``path``'s."""
    (loss, forgotten), path = losses, dict(zip(STRENGTHS, path, strict=True))
    allowed = {strength: new for strength, (new, old) in path.items() if old <= limit}
    best = min(allowed, key=allowed.get)
    if abs(got - allowed[best]) < TOLERANCE:
        why = "That is the loss there; return the strength."
    elif not 0 <= got <= 1:
        why = "That is none of the strengths 0, 0.1 … 1."
    elif forgotten > limit:
        why = "There `old` is above the limit: leave such strengths out before you look for the lowest loss on `new`."
    elif loss <= allowed[best] + TOLERANCE:
        return
    elif got == 0:
        why = (
            f"Strength 0 forgets nothing, and has learned nothing: ×{best:g} is allowed. Was it tried? range(11) gives "
            "whole numbers, to be divided by 10. And of those allowed the lowest loss on `new` is asked for."
        )
    elif got > best:
        why = "Nor is it the greatest strength that is asked for: compare the losses on `new`."
    else:
        why = "It is within the limit, and a greater strength would be too."
    expect(
        False,
        f"came:     ×{got:.3g}, with {loss:.2f} nats on `new` and {forgotten:.2f} on `old`\n"
        f"  expected: ×{best:.3g} or near it, with {allowed[best]:.2f} nats on `new`\n  {why}",
    )
