"""A captured step gives the numbers of the step as it is written; without CUDA, what can't be captured says so."""

import gc
import math

from lora_teach import LoRAModel, NonFiniteLoss, train, training, training_steps
from lora_teach.loop import captured
from lora_teach.loop.captured import MOST, can_capture
from tests.tiny_language_model import tiny_model
from tests.toy import TinyGPT, bits, filled, mlp, numbers, pairs, same_bits, tokens

import pytest
import torch
from torch import nn

CUDA = torch.device("cuda")
mse = nn.functional.mse_loss
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


# Without CUDA.


@pytest.mark.parametrize(
    ("device", "given", "accumulate", "words"),
    [
        ("cpu", None, 1, "the model is on cpu.*CUDA device"),
        ("cuda", object(), 1, "the optimiser is your own; leave it out"),
        ("cuda", None, 4, "accumulate=4.*larger batches"),
    ],
)
def test_what_cant_be_captured_says_why_and_what_to_do(device, given, accumulate, words):
    with pytest.warns(UserWarning, match=f"capture=True: the steps run one kernel at a time, since {words}"):
        assert not can_capture(torch.device(device), given, accumulate)


def test_on_a_cpu_the_run_is_the_one_without_capture():
    model, other = (filled(LoRAModel(mlp())) for _ in range(2))
    with pytest.warns(UserWarning, match="capture=True"):
        history = train(model, pairs(), mse, steps=4, capture=True, progress=False)
    assert history.loss == train(other, pairs(), mse, steps=4, progress=False).loss
    assert same_bits(bits(model), bits(other))


class Pretended:
    """Stands for a graph where there is no GPU: what was to be recorded is done anew at each replay."""

    fails = False

    def __init__(self, run, batch):
        if self.fails:
            raise RuntimeError("operation not permitted")
        self.run = run

    def replay(self, batch):
        self.run.optimizer.zero_grad(set_to_none=True)
        return captured._step(self.run, batch).tolist()


class Nowhere:
    """A stream, or a block, of no GPU."""

    def __init__(self, *_):
        pass

    def wait_stream(self, _):
        pass

    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass


@pytest.fixture
def pretend(monkeypatch):
    """Runs the logic around the graphs on the CPU, and counts the replays."""
    for name in ("Stream", "stream", "device", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, Nowhere)
    for name in ("graph_pool_handle", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(training, "can_capture", lambda *_: True)
    monkeypatch.setattr(captured, "_Graph", type("Pretended", (Pretended,), {}))
    return counting(monkeypatch)


def counting(monkeypatch):
    counted, replay = [], captured._Graph.replay

    def counted_too(graph, batch):
        counted.append(graph)
        return replay(graph, batch)

    monkeypatch.setattr(captured._Graph, "replay", counted_too)
    return counted


def test_the_first_batch_of_each_shape_runs_as_it_is_written_and_the_others_as_a_graph(pretend):
    batches = [(numbers(n, 6, seed=n), numbers(n, 4, seed=n + 50)) for n in (3, 5, 7)]
    options = {"lr": 1e-2, "steps": 10, "schedule": lambda done: 1 - done, "max_grad_norm": 0.1, "progress": False}
    model, other = (filled(LoRAModel(mlp())) for _ in range(2))
    history, expected = train(model, batches, mse, capture=True, **options), train(other, batches, mse, **options)
    assert len(pretend) == 7 and len(set(pretend)) == 3
    assert history.loss == pytest.approx(expected.loss, rel=1e-5)
    assert history.lr == expected.lr
    assert close(model, other)


def test_the_step_before_a_graph_asks_the_model_for_what_the_graph_asks(pretend):
    model, asked = LoRAModel(tiny_model(), rank=4), []  # or a compiled model would compile anew while it is recorded
    model.register_forward_pre_hook(lambda _, args, kwargs: asked.append(set(kwargs)), with_kwargs=True)
    train(model, chats([9]), None, steps=4, capture=True, progress=False)
    assert len(pretend) == 3 and len(asked) == 4
    assert all(keys == asked[0] for keys in asked) and "labels" in asked[0]


@pytest.mark.parametrize("at", [1, 2, 3, 7])
def test_what_is_not_finite_is_undone_as_without_capture(pretend, at):
    def stopped(**options):
        model, batches = filled(LoRAModel(mlp())), pairs(10)
        batches[at - 1] = (batches[at - 1][0] * math.nan, batches[at - 1][1])
        with pytest.raises(NonFiniteLoss, match=f"at step {at}.*inputs of this batch hold nan") as caught:
            train(model, batches, mse, lr=1e-3, steps=10, progress=False, **options)
        assert len(caught.value.history) == at - 1
        return model

    assert close(stopped(capture=True), stopped(), limit=1e-6)


def test_a_graph_is_dropped_when_what_it_takes_for_granted_changes(pretend):
    model = filled(LoRAModel(mlp()))
    for step in training_steps(model, pairs(1), mse, lr=1e-3, steps=9, capture=True):
        if step.index == 4:
            model.set_alpha(40)
    assert len(set(pretend)) == 2 and len(pretend) == 7


def test_too_many_shapes_and_a_capture_that_fails_are_told(pretend):
    batches = [(numbers(n, 6, seed=n), numbers(n, 4, seed=n + 50)) for n in range(1, MOST + 3)]
    with pytest.warns(UserWarning, match=f"batches come in more than {MOST} shapes; pad them"):
        train(filled(LoRAModel(mlp())), batches, mse, steps=30, capture=True, progress=False)
    assert not pretend
    captured._Graph.fails = True
    model, other = (filled(LoRAModel(mlp())) for _ in range(2))
    with pytest.warns(UserWarning, match="CUDA could not record it .*operation not permitted"):
        history = train(model, pairs(), mse, steps=8, capture=True, progress=False)
    assert not pretend
    assert history.loss == pytest.approx(train(other, pairs(), mse, steps=8, progress=False).loss)


def test_an_interrupted_replay_is_undone(pretend, monkeypatch):
    model, other = (filled(LoRAModel(mlp())) for _ in range(2))
    done = train(other, pairs(1), mse, steps=3, progress=False)

    def third(graph, batch, replay=captured._Graph.replay):
        seen = replay(graph, batch)
        if len(pretend) == 3:
            raise KeyboardInterrupt
        return seen

    monkeypatch.setattr(captured._Graph, "replay", third)
    history = train(model, pairs(1), mse, steps=9, capture=True, progress=False)
    assert len(history) == 3 and "interrupted after step 3" in history.stopped
    assert history.loss == pytest.approx(done.loss) and close(model, other)


def kept(folder, device, seen=None, capture=True):
    """Train for 20 steps with a checkpoint, or up to step ``seen``, and return the model."""
    torch.manual_seed(0)
    model = filled(LoRAModel(mlp().to(device), dropout=0.2))
    options = {"steps": 20, "checkpoint": folder, "checkpoint_every": 5, "capture": capture}
    for step in training_steps(model, pairs(), mse, lr=1e-2, schedule=lambda done: 1 - done, **options):
        if step.index == seen:
            break
    return model


def kept_whole_and_broken(folder, device):
    """Return a run that was never broken off, and one that was, and went on; another kind is refused in between."""
    whole = kept(folder / "whole", device)
    kept(folder / "broken", device, seen=12)
    with pytest.raises(ValueError, match="capture=True, and this one has capture=None"):
        kept(folder / "broken", device, capture=False)
    return whole, kept(folder / "broken", device)


def test_a_kept_run_of_either_kind_is_not_taken_for_the_other(pretend, tmp_path):
    whole, broken = kept_whole_and_broken(tmp_path, "cpu")
    assert same_bits(bits(broken), bits(whole))


# On a GPU.


def letters(logits, targets):
    return nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


def chats(lengths, count=6):
    """Batches of a language model in the given lengths, in turn, one row padded."""
    made = []
    for n in range(count):
        ids = tokens(3, lengths[n % len(lengths)], size=16, seed=n)
        mask = torch.ones_like(ids)
        mask[0, -2:] = 0
        made.append({"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(mask == 0, -100)})
    return made


CASES = {  # what is trained, its batches, its loss, the options
    "numbers": (lambda: LoRAModel(mlp()), pairs(), mse, {"weight_decay": 0.1}),
    "letters with dropout": (
        lambda: LoRAModel(TinyGPT(), dropout=0.2),
        [(tokens(seed=n), tokens(seed=n + 9)) for n in range(3)],
        letters,
        {"schedule": lambda done: 1 - done / 2},
    ),
    "clipped": (lambda: LoRAModel(mlp(), learnable_scaling=True), pairs(), mse, {"max_grad_norm": 0.05}),
    "saved modules": (lambda: LoRAModel(mlp(), target_modules=["0"], modules_to_save=["2"]), pairs(), mse, {}),
    "dora": (lambda: LoRAModel(mlp(), variant="dora"), pairs(), mse, {}),
    "whole": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)),
        pairs(),
        mse,
        {},
    ),
    "Llama": (lambda: LoRAModel(tiny_model(), rank=4), chats([6, 9, 12]), None, {}),
}


def run(make, batches, loss_fn, steps=50, **options):
    torch.manual_seed(0)
    model = make().to(CUDA)
    if isinstance(model, LoRAModel):
        filled(model, std=0.1)
    return model, train(model, batches, loss_fn, lr=1e-3, steps=steps, progress=False, **options)


def close(model, other, limit=1e-4):
    return all(
        (one - two).norm() <= limit * two.norm() + 1e-7
        for one, two in zip(model.state_dict().values(), other.state_dict().values(), strict=True)
        if one.is_floating_point()
    )


@pytest.fixture
def replays(monkeypatch):
    """Counts the replays, so that a test sees whether there were any."""
    return counting(monkeypatch)


@cuda
@pytest.mark.parametrize("case", CASES)
def test_captured_and_eager_agree(case, replays):
    make, batches, loss_fn, options = CASES[case]
    model, history = run(make, batches, loss_fn, **options, capture=True)
    other, expected = run(make, batches, loss_fn, **options)
    assert len(replays) >= 40
    assert history.loss == pytest.approx(expected.loss, rel=1e-4)
    assert history.lr == pytest.approx(expected.lr)
    assert close(model, other)


@cuda
@pytest.mark.filterwarnings("ignore")  # of the compiler's own
def test_a_compiled_base_is_recorded_as_it_was_compiled(replays):
    def compiled():
        model = LoRAModel(tiny_model(), rank=4)
        model.base_model.compile()
        return model

    model, history = run(compiled, chats([6, 9]), None, capture=True)
    other, expected = run(lambda: LoRAModel(tiny_model(), rank=4), chats([6, 9]), None)
    assert len(replays) >= 40
    assert history.loss == pytest.approx(expected.loss, rel=1e-4)
    assert close(model, other, limit=1e-3)


@cuda
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_agrees_within_its_noise(dtype, replays):
    def make():
        return LoRAModel(tiny_model().to(dtype), rank=4)

    _, history = run(make, chats([8]), None, capture=True)
    _, expected = run(make, chats([8]), None)
    assert len(replays) == 49
    assert history.loss == pytest.approx(expected.loss, rel=0.02)


@cuda
def test_more_shapes_than_are_recorded_go_on_as_they_are_written(replays):
    batches = [(numbers(n, 6, seed=n), numbers(n, 4, seed=n + 50)) for n in range(1, MOST + 3)]
    with pytest.warns(UserWarning, match=f"more than {MOST} shapes; pad"):
        model, history = run(lambda: LoRAModel(mlp()), batches, mse, capture=True)
    other, expected = run(lambda: LoRAModel(mlp()), batches, mse)
    assert not replays
    assert history.loss == pytest.approx(expected.loss, rel=1e-5) and close(model, other)


class Waits(nn.Module):
    """Looks at a number on the GPU in its forward, for which it has to wait."""

    def __init__(self):
        super().__init__()
        self.linear, self.dropout = nn.Linear(6, 4), nn.Dropout(0.2)

    def forward(self, x):
        return self.linear(self.dropout(x)) * (2.0 if x.sum().item() > 0 else 1.0)


@cuda
def test_a_step_that_waits_for_the_gpu_goes_on_as_it_is_written(replays):
    with pytest.warns(UserWarning, match="CUDA could not record it"):
        model, history = run(lambda: LoRAModel(Waits()), pairs(), mse, steps=12, capture=True)
    other, expected = run(lambda: LoRAModel(Waits()), pairs(), mse, steps=12)
    assert not replays
    assert history.loss == pytest.approx(expected.loss, rel=1e-5) and close(model, other)
    run(lambda: LoRAModel(mlp(), dropout=0.2), pairs(), mse, steps=6, capture=True)  # nothing is left behind
    assert replays


@cuda
def test_a_batch_that_holds_more_than_tensors_goes_on_as_it_is_written(replays):
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(6, 4)

        def forward(self, x, note):
            return self.linear(x)

    batches = [{"x": numbers(3, 6), "note": {1, 2}}]
    with pytest.warns(UserWarning, match="a batch holds a set"):
        run(lambda: LoRAModel(Reads()), batches, lambda output, batch: output.square().mean(), steps=4, capture=True)
    assert not replays


@cuda
def test_what_is_changed_between_two_steps_is_seen(replays):
    def losses(**options):
        torch.manual_seed(0)
        model, seen = filled(LoRAModel(mlp().to(CUDA))), []
        for step in training_steps(model, pairs(1), mse, lr=1e-3, steps=16, **options):
            seen.append(step.loss)
            if step.index == 6:
                model.set_alpha(40)
            if step.index == 11:
                model.eval()
        return seen

    assert losses(capture=True) == pytest.approx(losses(), rel=1e-5)
    assert len({id(graph) for graph in replays}) == 2


@cuda
def test_between_two_steps_the_gradients_are_those_of_the_step():
    def gradients(**options):
        torch.manual_seed(0)
        model, seen = filled(LoRAModel(mlp().to(CUDA))), []
        batches = [(numbers(n, 6, seed=n), numbers(n, 4, seed=n + 50)) for n in (3, 5)]
        for _ in training_steps(model, batches, mse, lr=1e-3, steps=9, **options):
            seen += [p.grad.clone() for p in model.trainable_parameters()]
        assert all(p.grad is None for p in model.trainable_parameters())
        return seen

    for one, two in zip(gradients(capture=True), gradients(), strict=True):
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-7)


@cuda
@pytest.mark.parametrize("at", [2, 3, 7])
def test_a_loss_that_is_not_finite_leaves_what_eager_leaves(at):
    def stopped(**options):
        torch.manual_seed(0)
        model, batches = filled(LoRAModel(mlp().to(CUDA))), pairs(10)
        batches[at - 1] = (batches[at - 1][0] * math.nan, batches[at - 1][1])
        with pytest.raises(NonFiniteLoss, match=f"at step {at}.*inputs of this batch hold nan") as caught:
            train(model, batches, mse, lr=1e-3, steps=10, progress=False, **options)
        assert len(caught.value.history) == at - 1
        return model

    assert close(stopped(capture=True), stopped(), limit=1e-5)


class Spoilt(torch.autograd.Function):
    """A finite value; its gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(factor)
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.saved_tensors[0], None


class TurnsBad(nn.Module):
    """From the sixth call on its gradient is nan."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, x):
        self.calls += 1
        return Spoilt.apply(self.linear(x), torch.where(self.calls > 5, math.nan, 1.0))


@cuda
def test_an_update_that_is_not_finite_is_undone():
    def stopped(**options):
        torch.manual_seed(0)
        model = filled(LoRAModel(TurnsBad().to(CUDA)))
        with pytest.raises(NonFiniteLoss, match="the parameters are not finite after step 6"):
            train(model, pairs(), mse, lr=1e-3, steps=10, progress=False, **options)
        return model

    assert close(stopped(capture=True), stopped(), limit=1e-5)


@cuda
def test_the_callers_random_numbers_are_left_alone():
    torch.cuda.manual_seed(5)
    expected = torch.rand(3, device=CUDA)
    model = LoRAModel(mlp().to(CUDA), dropout=0.3)  # draws A
    torch.cuda.manual_seed(5)
    train(model, pairs(), mse, steps=6, capture=True, progress=False)
    assert torch.equal(torch.rand(3, device=CUDA), expected)


@cuda
def test_a_kept_run_goes_on_to_the_same_bits(tmp_path):
    whole, broken = kept_whole_and_broken(tmp_path, CUDA)
    assert close(broken, whole, limit=1e-6)


@cuda
def test_a_run_leaves_no_memory_behind():
    def trained():
        model = LoRAModel(tiny_model().to(CUDA), rank=2)
        train(model, chats([6, 9]), steps=8, capture=True, progress=False)
        return model

    trained()
    gc.collect()
    before = torch.cuda.memory_allocated()
    model = trained()
    held = sum(p.numel() * p.element_size() for p in (*model.parameters(), *model.buffers()))
    del model
    gc.collect()
    assert torch.cuda.memory_allocated() - before <= held // 2
