"""Two processes train what one would with the same batches: DDP and FSDP2 on gloo, as torchrun starts them."""

import os
import subprocess
import sys
from pathlib import Path

from lora_teach import LoRAModel, train
from lora_teach.loop.distributed import divided
from tests.loop import processes_at_work as at_work
from tests.toy import mlp, numbers, pairs

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

pytestmark = [
    pytest.mark.skipif(not torch.distributed.is_available(), reason="torch.distributed is not built in"),
    pytest.mark.filterwarnings("ignore:.*trainable parameters got no gradient at the first step:UserWarning"),
]
ROOT = Path(__file__).resolve().parents[2]


def torchrun(*arguments, seconds=300):
    """Start two processes; return what they said and how they ended."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += map(str, (Path(at_work.__file__), *arguments))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """What each of the two processes saw, and the folder in which they worked."""
    folder = tmp_path_factory.mktemp("work")
    ended = torchrun(folder)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return [torch.load(folder / f"done-{rank}.pt") for rank in (0, 1)], folder


def close(found, expected, limit=1e-5):
    assert found["loss"] == pytest.approx(expected["loss"], rel=limit)
    assert found["trained"].keys() == expected["trained"].keys()
    for name, value in expected["trained"].items():
        assert torch.allclose(found["trained"][name], value, rtol=0, atol=limit), name
    return True


@pytest.mark.parametrize("shard", [False, True], ids=["DDP", "FSDP2"])
@pytest.mark.parametrize("case", at_work.CASES)
def test_two_processes_give_the_losses_and_the_numbers_of_one(done, case, shard):
    (first, second), _ = done
    assert close(first[case, shard], at_work.run(case))
    assert close(second[case, shard], first[case, shard], limit=1e-12)


def test_so_they_do_with_an_optimiser_of_ones_own_and_parameters_that_some_batches_dont_use(done):
    (first, _), _ = done
    assert close(first["own optimizer"], at_work.own_optimizer())
    assert close(first["unused", False], at_work.sometimes_unused())


@pytest.mark.parametrize("shard", [False, True], ids=["DDP", "FSDP2"])
def test_a_run_may_be_looked_at_and_ends_with_its_best_numbers(done, shard):
    (first, second), _ = done
    assert close(first["looked at", shard], at_work.looked_at())
    assert close(second["looked at", shard], first["looked at", shard], limit=1e-12)


@pytest.mark.parametrize("shard", [False, True], ids=["DDP", "FSDP2"])
def test_a_kept_run_goes_on_to_the_same_bits_and_by_as_many_processes_only(done, shard):
    for one in done[0]:
        whole, resumed = one["kept", shard]
        assert whole["loss"] == resumed["loss"]
        assert all(torch.equal(value, resumed["trained"][name]) for name, value in whole["trained"].items())
    kind = "2, sharded" if shard else "2"
    with pytest.raises(ValueError, match=f"processes='{kind}', and this one has processes=None"):
        at_work.kept(done[1] / f"broken-{shard}")


@pytest.mark.parametrize("shard", [False, True], ids=["DDP", "FSDP2"])
def test_process_0_alone_writes_and_what_it_writes_is_whole(done, shard):
    (first, _), folder = done  # the other's os.replace raised an error meanwhile
    saved, trained = load_file(folder / f"adapter-{shard}" / "adapter_model.safetensors"), first["adapter", shard]
    assert len(saved) == len(trained) == 4
    for name, value in trained.items():
        key = name.replace("adapters.default.", "base_model.model.") + ".weight"
        assert torch.equal(saved[key], value.T)


def test_one_process_can_train_apart(done):
    for one in done[0]:
        assert close(one["apart"], at_work.run("numbers"), limit=1e-12)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("own optimizer in shards", "ValueError: shard=True puts shards in the parameters' place.*Leave optimizer out"),
        ("other data", "RuntimeError: process 1 was given another batch than process 0.*without a DistributedSampler"),
        ("other base", "RuntimeError: process 1 has another base or other adapters than process 0"),
        ("blown up", "NonFiniteLoss: the loss is nan at step 3. the inputs of this batch hold nan or inf"),
    ],
)
def test_what_cant_be_is_an_error_in_every_process(done, what, words):
    for one in done[0]:
        pytest.raises(RuntimeError, raise_it, one[what]).match(words)


def raise_it(words):
    raise RuntimeError(words)


@pytest.mark.parametrize(("way", "words"), [("killed", "SIGKILL"), ("raises", "the disk of process 1 is gone")])
def test_a_process_that_dies_ends_the_run_and_leaves_the_last_checkpoint_whole(tmp_path, way, words):
    ended = torchrun(tmp_path, way, seconds=120)
    assert ended.returncode != 0 and words in ended.stderr
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert len(kept["steps"]) == 10 and kept["belongs_to"]["processes"] == "2"


# In one process.


def test_a_batch_is_divided_by_rows_in_order():
    inputs, targets = numbers(5, 6), torch.arange(5)
    parts = divided({"x": inputs, "y": [targets], "scale": torch.tensor(2.0), "use_cache": False}, 3)
    assert [len(part["x"]) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part["y"][0] for part in parts]), targets)
    assert all(part["scale"] == 2.0 and part["use_cache"] is False for part in parts)
    assert [part and len(part[0]) for part in divided((inputs[:2], targets[:2]), 3)] == [1, 1, None]


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ((numbers(5, 6), numbers(4, 6)), "tensors have 4, 5 rows.*one row for each example"),
        ({"x": numbers(5, 6), "text": ["a", "b", {1}]}, "a set at text.2.*plain tensors"),
        ({"x": torch.tensor(1.0)}, "tensors have no rows"),
        ({"x": torch.eye(3).to_sparse()}, "holds a Tensor at x"),
    ],
)
def test_a_batch_that_cant_be_divided_says_why(batch, words):
    with pytest.raises(ValueError, match=words):
        divided(batch, 2)


def test_shards_need_several_processes():
    with pytest.raises(ValueError, match="shard=True divides the base.*torchrun --nproc-per-node 2"):
        train(LoRAModel(mlp()), pairs(), nn.functional.mse_loss, steps=1, shard=True, progress=False)


@pytest.fixture
def one_of_two(monkeypatch):
    """Looks like the first of two processes to what is checked before they meet."""
    from lora_teach.utils import processes

    monkeypatch.setattr(processes, "join", lambda even_one=False: True)
    monkeypatch.setattr(processes, "size", lambda: 2)
    monkeypatch.setattr(processes, "gathered", lambda value: [value, value])
    monkeypatch.setattr(processes, "on_writer", lambda function: function())


def test_a_batchnorm_that_trains_is_refused(one_of_two):
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8))
    with pytest.raises(ValueError, match="1 is a BatchNorm1d that trains.*convert_sync_batchnorm"):
        train(model, pairs(), nn.functional.mse_loss, steps=1, progress=False)


def test_a_quantised_base_is_not_divided(one_of_two):
    model = LoRAModel(mlp(), target_modules=["0"])
    model.base_model[2].weight = nn.Parameter(model.base_model[2].weight.to(torch.int8), requires_grad=False)
    with pytest.raises(ValueError, match=r"2.weight is quantised \(torch.int8\).*shard=False"):
        train(model, pairs(), nn.functional.mse_loss, steps=1, shard=True, progress=False)


def test_shards_are_of_one_dtype(one_of_two):
    model = LoRAModel(mlp(), target_modules=["0"])
    model.lora_layers["0"].lora_A = nn.Parameter(model.lora_layers["0"].lora_A.detach().double())
    with pytest.raises(ValueError, match="what trains is in torch.float.*needs one dtype"):
        train(model, pairs(), nn.functional.mse_loss, steps=1, shard=True, progress=False)
