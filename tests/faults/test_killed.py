"""kill -9 at random moments of training and of saving: nothing is lost, and a resumed run ends bit-identical.

LORA_TEACH_KILLS=50 pytest -n0 tests/faults/test_killed.py  kills 50 trainings and 50 savings, not 10 and 6.
"""

import os
import signal

from tests.faults.at_work import CASES, STEPS, moments
from tests.peft_format.folders import CONFIG, WEIGHTS
from tests.peft_format.test_swap import NEW, OLD, model_of, output
from tests.toy import same_bits

import pytest
import torch

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there a process is stopped in other ways")
KILLS = int(os.environ.get("LORA_TEACH_KILLS", "0"))


@pytest.mark.parametrize("case", CASES)
def test_a_training_killed_at_any_moment_resumes_and_ends_bit_identical(case, tmp_path, workers):
    def run(folder, after=None, every=1):
        arguments = {"case": case, "folder": str(folder), "out": str(tmp_path / "out.pt"), "every": every}
        if after is not None:
            return workers.hit(signal.SIGKILL, after, "train", **arguments)
        seconds = workers.run("train", **arguments)
        return seconds, torch.load(tmp_path / "out.pt", weights_only=True)

    seconds, whole = run(tmp_path / "whole")
    assert whole["executed"] == STEPS
    for number, after in enumerate(moments(KILLS // len(CASES) or 2, seconds, seed=CASES.index(case))):
        folder, every = tmp_path / str(number), 1 + number % 3
        status = run(folder, after, every)
        kept = folder / "checkpoint.pt"
        steps = len(torch.load(kept, weights_only=True)["steps"]) if kept.is_file() else 0
        _, resumed = run(folder, every=every)
        assert status in (-signal.SIGKILL, 0) and resumed["executed"] == STEPS - steps
        assert resumed["losses"] == whole["losses"] and same_bits(resumed["state"], whole["state"])
        assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.lock", "checkpoint.pt"]


def test_a_saving_killed_at_any_moment_leaves_the_old_adapter_or_the_new(tmp_path, workers):
    # 41 of 150 such kills left new weights under the old alpha, while the two files were moved one after the other
    wanted = []
    for options, seed in ((OLD, 1), (NEW, 2)):
        model_of(options, seed).save_adapter(tmp_path / str(seed))
        wanted.append(output(tmp_path / str(seed)))
    model_of(OLD, 1).save_adapter(tmp_path / "a")
    for after in moments(KILLS or 6, 0.3):
        assert workers.hit(signal.SIGKILL, after, "save", folder=str(tmp_path / "a")) == -signal.SIGKILL
        found = output(tmp_path / "a")
        assert any(torch.equal(found, one) for one in wanted)
    model_of(NEW, 2).save_adapter(tmp_path / "a")
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == [CONFIG, WEIGHTS]
