"""Ctrl-C and SIGTERM at many moments: the model is that of the last whole step, and what ended the run is said.

LORA_TEACH_LINES=1 pytest -n0 tests/faults/test_interrupted.py  interrupts at every line, not every 40th, and 20 times
the command line and the asynchronous cell, not twice.
"""

import itertools
import json
import linecache
import os
import signal
import sys

import lora_teach
from lora_teach import LoRAModel, train, training_steps
from lora_teach.bases import load_name_gpt
from tests.faults.at_work import make, moments
from tests.toy import TinyGPT, bits, same_bits, tokens

import pytest
import torch
from torch import nn

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there signals are others")
EVERY = int(os.environ.get("LORA_TEACH_LINES", "40"))
SIGNALS = 20 if EVERY == 1 else 2
LIBRARY = lora_teach.__path__[0]
OPTIONS = {"lr": 1e-2, "steps": 3, "seed": 0}


def model_and_data():
    torch.manual_seed(0)
    model = LoRAModel(TinyGPT(tied=False), rank=2, dropout=0.1, target_modules=["q_proj", "v_proj"]).eval()
    return model, [(tokens(seed=n), tokens(seed=9 + n)) for n in range(3)]


def loss_fn(output, targets):
    return nn.functional.cross_entropy(output.flatten(0, 1), targets.flatten())


class InterruptAtLine:
    """Context manager: SIGINT comes at the ``number``-th line of the library (with that ``text``) run within."""

    def __init__(self, number, text=None):
        self.number, self.text, self.lines, self.place = number, text, 0, None

    def __enter__(self):
        sys.settrace(self._of_frame)
        return self

    def __exit__(self, *exception):
        sys.settrace(None)

    def _of_frame(self, frame, event, argument):
        return self._of_line if frame.f_code.co_filename.startswith(LIBRARY) else None

    def _of_line(self, frame, event, argument):
        file, line = frame.f_code.co_filename, frame.f_lineno
        self.lines += event == "line" and self.text in (None, linecache.getline(file, line).strip())
        if self.lines == self.number and self.place is None:
            self.place = f"{file[len(LIBRARY) + 1 :]}, line {line}"
            sys.settrace(None)
            signal.raise_signal(signal.SIGINT)
        return self._of_line


def test_ctrl_c_at_any_line_leaves_the_last_whole_step_its_history_and_the_callers_random_numbers():
    found = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        model, data = model_and_data()
        after = [bits(model)]  # each number of steps
        after += [bits(model) for _ in training_steps(model, data, loss_fn, **OPTIONS)]
        modes = [module.training for module in model.modules()]
        reached = 0
        for number in itertools.count(1, EVERY):
            model, data = model_and_data()
            torch.manual_seed(5)
            random = torch.get_rng_state()
            history = ()
            with InterruptAtLine(number) as interrupt:
                try:
                    history = train(model, data, loss_fn, progress=False, **OPTIONS)
                except KeyboardInterrupt:  # before the run began, or after it was over
                    history = () if same_bits(bits(model), after[0]) else (1, 2, 3)
            where = f"interrupted at {interrupt.place}"
            assert same_bits(bits(model), after[len(history)]), where
            assert [module.training for module in model.modules()] == modes, where
            assert torch.equal(torch.get_rng_state(), random), where
            assert all(parameter.grad is None for parameter in model.parameters()), where
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, where
            if interrupt.place is None:
                break
            if getattr(history, "stopped", None):
                assert history.stopped == f"interrupted after step {len(history)} of 3", where
                reached += 1
        assert reached * EVERY > 1000
    finally:
        signal.signal(signal.SIGINT, found)


@pytest.mark.parametrize("text", ["yield step", "return self"])  # a step on its way; a handler that has just been set
@pytest.mark.parametrize("number", [1, 2, 3])
def test_ctrl_c_between_a_step_and_its_caller_loses_neither_and_leaves_no_handler(text, number):
    found = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        model, data = model_and_data()
        after = [bits(model), *(bits(model) for _ in training_steps(model, data, loss_fn, **OPTIONS))]
        model, data = model_and_data()
        history = ()
        with InterruptAtLine(number, text) as interrupt:
            try:
                history = train(model, data, loss_fn, progress=False, **OPTIONS)
            except KeyboardInterrupt:
                pass
        assert interrupt.place and same_bits(bits(model), after[len(history)])
        assert text == "return self" or len(history) == number
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, found)


def test_ctrl_c_in_the_callers_own_loop_takes_effect_at_once():
    found = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        model, data = model_and_data()
        with pytest.raises(KeyboardInterrupt):
            for step in training_steps(model, data, loss_fn, **OPTIONS):
                signal.raise_signal(signal.SIGINT)
                pytest.fail(f"step {step.index} went on")
    finally:
        signal.signal(signal.SIGINT, found)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "names.jsonl"
    rows = [{"prompt": "", "completion": name} for name in ("aino", "eino", "väinö", "toivo", "helmi", "lempi")]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_interrupted_command_line_keeps_what_was_learned_and_says_so(number, status, tmp_path, workers, data):
    for place, after in enumerate(moments(SIGNALS, 3.0, seed=int(number))):
        out, said = tmp_path / f"adapter{place}", tmp_path / f"said{place}"
        command = ["train", "--base", "names", "--data", str(data), "--steps", "100000", "--out", str(out)]
        ended = workers.hit(number, after, "command", arguments=command, said=str(said))
        words = said.read_text(encoding="utf-8") if said.exists() else ""
        if not words and not out.exists() and ended != status:  # before the command line had begun
            continue
        assert ended == status
        assert "interrupted" in words and "Traceback" not in words
        if out.exists():
            LoRAModel.from_pretrained(load_name_gpt(), out)
            assert "the adapter is that of the last step" in words


def test_the_interrupted_asynchronous_cell_returns_its_history_and_the_model_of_that_step(tmp_path, workers):
    ended, begun = {}, tmp_path / "begun"
    for after in moments(SIGNALS, 1.0, seed=7):
        begun.unlink(missing_ok=True)
        out = {"out": str(tmp_path / "out.pt"), "begun": str(begun)}
        assert workers.hit(signal.SIGINT, after, "live", **out) == 0
        told = torch.load(tmp_path / "out.pt", weights_only=True)
        assert told["stopped"] == f"stopped after step {told['steps']} of 4000"
        ended[told["steps"]] = told["state"]
    model, batches, loss, options = make("schedule")
    for step in training_steps(model, batches, loss, steps=4000, seed=4, **options):
        if step.index in ended:
            assert same_bits(ended.pop(step.index), bits(model))
        if not ended:
            break
    assert not ended
