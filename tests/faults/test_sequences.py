"""What a user can do to a LoRAModel, in every order that hypothesis thinks of, against a plain model of what should be.

LORA_TEACH_SEQUENCES=2000 pytest -n0 tests/faults/test_sequences.py  runs 2,000 sequences in place of the usual 200;
LORA_TEACH_SEED=1 beside it makes them others.
"""

import copy
import os
import tempfile
import warnings
from pathlib import Path

from lora_teach import LoRAModel, training_steps
from tests.faults.plain_model import ARCHITECTURES, Numbers, adapted, expected
from tests.toy import bits, same_bits

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

SEQUENCES = int(os.environ.get("LORA_TEACH_SEQUENCES", "200"))
SEED = os.environ.get("LORA_TEACH_SEED")
SHRINK = "LORA_TEACH_SHRINK" in os.environ  # a failing sequence, made short: takes minutes
STEPS = 20  # at most, in one sequence
NEAR = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 0.1}  # of the output's norm
NAMES = st.sampled_from(["default", "a", "b"])
WHICH = st.integers(0, 9)  # the adapter of that number, or for 9 a name that may not be there
WEIGHTS = st.sampled_from([-0.5, 0.0, 0.3, 1.0, 2.0])
ALPHAS = st.sampled_from([None, 0.3, 3, 7.0])
VARIANTS = st.sampled_from(
    [
        {}, {"scaling": "alpha/sqrt(r)"}, {"scaling": "alpha"}, {"learnable_scaling": True}, {"init": "uniform_B"},
        {"variant": "dora"}, {"variant": "pissa"}, {"variant": "lora_fa"}, {"dropout": 0.2},
    ]
)  # fmt: skip


class Sequence(RuleBasedStateMachine):
    """One LoRAModel, and beside it what its base, adapters and choice should be."""

    @initialize(
        kind=st.sampled_from(sorted(ARCHITECTURES)), dtype=st.sampled_from(list(NEAR)), rank=st.integers(1, 3),
        options=VARIANTS, which=st.integers(0, 2), seed=st.integers(0, 99), second=VARIANTS,
    )  # fmt: skip
    def lay_over(self, kind, dtype, rank, options, which, seed, second):
        make, inputs, self.targets, self.whole = ARCHITECTURES[kind]
        torch.manual_seed(seed)
        self.tied = kind == "tied GPT"
        self.near, self.files, self.apart = NEAR[dtype], {}, []
        self.folder = tempfile.TemporaryDirectory(prefix="lora_teach-sequence-")
        base = make().to(dtype).eval()
        next(base.parameters()).requires_grad_(False)  # by its owner
        self.inputs = inputs()
        self.inputs = self.inputs.to(dtype) if self.inputs.is_floating_point() else self.inputs
        self._begin(base, rank, self.targets[which % len(self.targets)], options)
        self._add("a", 2, None, second, which + 1)

    def _begin(self, base, rank, targets, options):
        self.pristine, self.plain = copy.deepcopy(base), copy.deepcopy(base).double()
        self.flags = {name: parameter.requires_grad for name, parameter in base.named_parameters()}
        try:
            self.model = LoRAModel(base, rank=rank, target_modules=targets, **options)
        except ValueError as error:
            assert "is for linear layers" in str(error) and options["variant"] in ("pissa", "lora_fa")
            self.model = LoRAModel(base, rank=rank, target_modules=targets)
        self.active, self.merged = {"default": 1.0}, False
        self.adapters = {"default": Numbers.of(self.model, "default")}
        with torch.no_grad():
            self._is_near(self.model(self.inputs), expected(self.plain, [], self.inputs), "the output of a new adapter")
        self._fill("default", seed=0)

    def teardown(self):
        if hasattr(self, "folder"):
            self.folder.cleanup()

    # What is done. Where it is refused, the invariants see that nothing has changed.

    @rule(name=NAMES, rank=st.integers(1, 3), alpha=ALPHAS, options=VARIANTS, which=st.integers(0, 2),
          extra=st.sampled_from([None, None, None, None, "whole", "rows"]))  # fmt: skip
    def add(self, name, rank, alpha, options, which, extra):
        self._add(name, rank, alpha, options, which, extra)

    def _add(self, name, rank, alpha, options, which, extra=None):
        options = {"rank": rank, "alpha": alpha, "target_modules": self.targets[which % len(self.targets)]} | options
        if extra == "whole":
            options["modules_to_save"] = [self.whole]
        if extra == "rows" and self.whole == "head":
            options["trainable_token_indices"] = {"embedding": [1, 7]}
        try:
            with self._unless_merged():
                self.model.add_adapter(name, **options)
                assert name not in self.adapters
                self.adapters[name] = Numbers.of(self.model, name)
                self._fill(name, seed=len(self.adapters))
        except ValueError as error:
            clash = ("modules_to_save", "is for linear layers", "trainable_token", "no layer that can be adapted")
            assert name in self.adapters or any(word in str(error) for word in clash), error

    @precondition(lambda self: self.adapters and not self.merged)
    @rule(which=WHICH, seed=st.integers(0, 99))
    def fill(self, which, seed):
        """Give an adapter other numbers, as an optimiser of the user's own would."""
        self._fill(list(self.adapters)[which % len(self.adapters)], seed)

    @rule(which=st.one_of(WHICH, WHICH, WHICH, st.none()))
    def switch(self, which):
        name = None if which is None else self._name(which)
        with self._unless_merged(), self._unless_unknown([] if name is None else [name]):
            self.model.set_adapter(name)
            self.active = {} if name is None else {name: 1.0}

    @rule(weights=st.lists(WEIGHTS, max_size=3), which=WHICH, merge=st.booleans())
    def mix(self, weights, which, merge):
        """Mix some adapters; then merge them or not."""
        weights = {self._name(which + place): weight for place, weight in enumerate(weights)}
        alone = [name for name in weights if name in self.adapters and self.adapters[name].active_alone]
        try:
            with self._unless_merged(), self._unless_unknown(weights):
                self.model.set_adapter(weights)
                assert not alone or weights == {alone[0]: 1}
                self.active = dict(weights)
        except ValueError as error:
            assert alone and "cannot be mixed" in str(error)
        if merge:
            self.merge()

    @rule(alpha=ALPHAS.filter(bool))
    def set_alpha(self, alpha):
        with self._unless_merged():
            self.model.set_alpha(alpha)
            for name in self.active:
                self.adapters[name].set_alpha(alpha)

    @rule(which=st.lists(st.one_of(WHICH, WHICH, WHICH, st.none()), min_size=4, max_size=4))
    def rows(self, which):
        names = [None if one is None else self._name(one) for one in which]
        whole = [name for name in names if name in self.adapters and self.adapters[name].copies]
        try:
            with self._unless_merged(), self._unless_unknown([name for name in names if name]):
                with self.model.rows(names), torch.no_grad():
                    found = self.model(self.inputs)
                assert not whole
                for row, name in enumerate(names):
                    chosen = [] if name is None else [(1.0, self.adapters[name])]
                    self._is_near(found[row], expected(self.plain, chosen, self.inputs)[row], f"row {row}")
        except ValueError as error:
            assert whole and "takes the module's place" in str(error)

    @rule()
    def merge(self):
        try:
            self.model.merge()
            assert self.active
            self.merged = True
        except RuntimeError as error:
            assert not self.active and "no adapter is active" in str(error)

    @rule()
    def unmerge(self):
        self.model.unmerge()
        self.merged = False

    @rule()
    def disabled(self):
        with self.model.disabled(), torch.no_grad():
            assert torch.equal(self.model(self.inputs), self.pristine(self.inputs))
            with pytest.raises(RuntimeError, match="inside disabled"):
                self.model.set_adapter(None)

    @rule(which=WHICH, again=st.one_of(st.none(), NAMES))
    def save(self, which, again):
        """Save an adapter; then load it under a name or not."""
        name, place = self._name(which), Path(self.folder.name) / str(len(self.files))
        with self._unless_unknown([name]):
            self.model.save_adapter(place, name)
            self.files[place if name == "default" else place / name] = copy.deepcopy(self.adapters[name])
            if again is not None:
                self.load(again, len(self.files) - 1)

    @precondition(lambda self: self.files)
    @rule(name=NAMES, which=st.integers(0, 99))
    def load(self, name, which):
        place = list(self.files)[which % len(self.files)]
        try:
            with self._unless_merged():
                self.model.load_adapter(place, name)
                assert name not in self.adapters
                self.adapters[name] = Numbers.of(self.model, name)
                assert self.adapters[name].same(self.files[place]), "what was read is not what was saved"
        except ValueError as error:
            assert name in self.adapters or "modules_to_save" in str(error), error

    @rule(steps=st.integers(1, 3))
    def train(self, steps):
        def loss_fn(output, targets):
            return (output.double() - targets).square().mean()

        targets = torch.zeros_like(self.pristine(self.inputs)).double()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # one step moves A or B, not both
                list(training_steps(self.model, [(self.inputs, targets)], loss_fn, lr=1e-2, steps=steps))
        except (RuntimeError, ValueError) as error:
            assert self.merged or not self.active or not self.model.trainable_parameters() or self._off(), error
        assert not self.model.training
        for name in self.active:
            if not self.merged:
                self.adapters[name] = Numbers.of(self.model, name)

    @rule(go_on=st.booleans())
    def copy(self, go_on):
        other = copy.deepcopy(self.model)
        self.apart.append((self.model if go_on else other, bits(other)))
        self.model = other if go_on else self.model

    @rule(which=WHICH, last=WHICH)
    def delete(self, which, last):
        """Delete an adapter; the last of all one time in ten."""
        name = self._name(which)
        if len(self.adapters) == 1 and last:
            return
        with self._unless_merged(), self._unless_unknown([name]):
            self.model.delete_adapter(name)
            del self.adapters[name]
            self.active.pop(name, None)

    @rule(merge=st.booleans(), rank=st.integers(1, 3), options=VARIANTS)
    def remove(self, merge, rank, options):
        """Take the overlay off; then lay a new one over what is left."""
        if merge and not self.active:
            return
        held = self.model.base_model
        try:
            base = self.model.remove(merge=merge)
        except ValueError as error:
            assert merge and self._writes_a_tied_weight() and "is shared with" in str(error)
            return
        assert base is held and not any(module._forward_hooks for module in base.modules())
        assert {name: parameter.requires_grad for name, parameter in base.named_parameters()} == self.flags
        if merge:
            self._is_near(base(self.inputs), self._expected(), "merged for good")
        else:
            assert same_bits(bits(base), bits(self.pristine))
        with pytest.raises(RuntimeError, match="the overlay was removed"):
            self.model.set_adapter("default")
        self._begin(base, rank, self.targets[0], options)

    # What must be so after each of them.

    @invariant()
    def it_is_what_it_should_be(self):
        model = self.model
        assert model.adapter_names == list(self.adapters) and model.active_adapters == self.active
        assert model.is_merged is self.merged and not model.is_disabled and model.open_rows is None
        for name, numbers in self.adapters.items():
            assert numbers.same(Numbers.of(model, name)), f"the numbers of adapter {name!r} changed"
        with torch.no_grad():
            self._is_near(model(self.inputs), self._expected(), "the output")

    @invariant()
    def the_base_is_untouched_but_for_a_merge(self):
        found, pristine = bits(self.model.base_model), bits(self.pristine)
        assert list(found) == list(pristine)
        active = [(weight, self.adapters[name]) for name, weight in self.active.items()] if self.merged else []
        written = {f"{path}.weight" for _, one in active for path in (*one.layers, *one.rows)}
        for key in found.keys() - written:
            assert torch.equal(found[key], pristine[key]), f"{key} changed"
        without_copies = [(weight, Numbers(one.layers, {}, one.rows, {}, set())) for weight, one in active]
        target = adapted(self.plain, without_copies)
        for key in written:
            self._is_near(found[key], target[key], key)

    @invariant()
    def only_what_is_active_trains(self):
        trains = {id(parameter) for parameter in self.model.parameters() if parameter.requires_grad}
        wanted = set()
        for name in self.active:
            frozen_A = "lora_fa" in self.adapters[name].variants
            for table in (self.model.adapters[name], self.model.saved_modules[name]):
                for key, parameter in table.named_parameters():
                    if not (frozen_A and key.endswith("lora_A")):
                        wanted.add(id(parameter))
        assert trains == wanted

    @invariant()
    def every_copy_is_apart(self):
        for model, before in self.apart:
            assert same_bits(bits(model), before), "a change reached a copy"

    @invariant()
    def one_hook_stands_on_each_adapted_module(self):
        wanted = {path for one in self.adapters.values() for path in (*one.layers, *one.copies, *one.rows)}
        hooked = {name: len(module._forward_hooks) for name, module in self.model.base_model.named_modules()}
        assert {name: count for name, count in hooked.items() if count} == dict.fromkeys(wanted, 1)

    # Saying what is expected.

    def _name(self, which):
        there = list(self.adapters)
        return there[which % len(there)] if there and which != 9 else "b"

    def _fill(self, name, seed):
        chance = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for table in (self.model.adapters[name], self.model.saved_modules[name]):
                for key, parameter in table.named_parameters():
                    noise = 0.3 * torch.randn(parameter.shape, generator=chance)
                    parameter.copy_(noise.abs() + 0.5 if "magnitude" in key or "scaling" in key else noise)
        self.adapters[name] = Numbers.of(self.model, name)

    def _expected(self):
        return expected(self.plain, [(w, self.adapters[name]) for name, w in self.active.items()], self.inputs)

    def _is_near(self, found, wanted, what):
        distance = (found.double() - wanted).norm() / wanted.norm().clamp_min(1e-6)
        assert distance < self.near, f"{what} is off by {distance:.2g} of its norm"

    def _writes_a_tied_weight(self):
        active = [self.adapters[name] for name in self.active]
        return self.tied and any("head" in one.copies for one in active)

    def _off(self):
        return any(weight == 0 for weight in self.active.values())

    def _unless_merged(self):
        return _Refused(self.merged, RuntimeError, "the model is merged")

    def _unless_unknown(self, names):
        return _Refused(any(name not in self.adapters for name in names), KeyError, "there is no adapter")


class _Refused:
    """Context manager: the block must raise this if ``refused``, and nothing of the kind otherwise."""

    def __init__(self, refused, kind, words):
        self.refused, self.kind, self.words = refused, kind, words

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if error is None:
            assert not self.refused, f"this should have been refused: {self.words}"
            return False
        return self.refused and isinstance(error, self.kind) and self.words in str(error)


@pytest.mark.filterwarnings("ignore:.*was not adapted:UserWarning")
def test_every_order_of_what_a_user_does_leaves_what_should_be():
    settings = hypothesis.settings(
        max_examples=SEQUENCES, stateful_step_count=STEPS, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck), report_multiple_bugs=False,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink] if SHRINK else [hypothesis.Phase.generate],
    )  # fmt: skip
    run_state_machine_as_test(hypothesis.seed(int(SEED))(Sequence) if SEED else Sequence, settings=settings)
