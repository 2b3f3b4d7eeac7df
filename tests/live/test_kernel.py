"""What only a running kernel shows: queued moves, moves and clicks while a cell awaits, the interrupt."""

import ast
import subprocess
from pathlib import Path

from tests.live.toy import answered_while_running

import pytest
from jupyter_client.manager import start_new_kernel

ROOT = Path(__file__).resolve().parents[2]
PREPARE = """
import time
import torch
from lora_teach.live import explore, train_live
from tests.live.toy import Toy

class Slow(Toy):
    def __call__(self, speed):
        time.sleep(0.02)  # a view that trains
        return super().__call__(speed)

explorer = explore(Slow(), speed=(1, 1000, 3))
batch = (torch.ones(4, 2), torch.ones(4, 1))
"""
TRAIN = "history = await train_live(torch.nn.Linear(2, 1), [batch], torch.nn.functional.mse_loss, steps=10**7)"
LIMIT = 60  # seconds after which a message that should have come is given up


class Page:
    """A front end without a screen: runs cells, moves sliders and presses buttons by messages, as JupyterLab does."""

    def __init__(self):
        self.manager, self.client = start_new_kernel(cwd=str(ROOT), stderr=subprocess.DEVNULL)

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def send(self, kind, content):
        message = self.client.session.msg(kind, content)
        self.client.shell_channel.send(message)
        return message["header"]["msg_id"]

    def start(self, code):
        return self.client.execute(code)

    def told(self):
        """The next message that the kernel publishes: its type, its content, the id of what it answers."""
        message = self.client.get_iopub_msg(timeout=LIMIT)
        return message["msg_type"], message["content"], message["parent_header"].get("msg_id")

    def idle(self, request):
        """Everything published up to the report that the request is done with."""
        seen = []
        while True:
            seen.append(self.told())
            if seen[-1][0] == "status" and seen[-1][1]["execution_state"] == "idle" and seen[-1][2] == request:
                return seen

    def value(self, expression):
        """What an expression is in the kernel."""
        seen = self.idle(self.start(f"print(repr({expression}))"))
        errors = [content["evalue"] for kind, content, _ in seen if kind == "error"]
        assert not errors, errors
        return ast.literal_eval("".join(content["text"] for kind, content, _ in seen if kind == "stream"))

    def run(self, code):
        seen = self.idle(self.start(code))
        assert not [content for kind, content, _ in seen if kind == "error"]
        return seen

    def move(self, comm, value):
        return self.send("comm_msg", {"comm_id": comm, "data": {"method": "update", "state": {"value": value}}})

    def press(self, comm):
        return self.send("comm_msg", {"comm_id": comm, "data": {"method": "custom", "content": {"event": "click"}}})

    def start_training(self):
        """Starts a run that would take for ever; returns its id and that of its Stop button once the curve is shown."""
        request, stop = self.start(TRAIN), None
        while True:
            kind, content, _ = self.told()
            if kind == "comm_open" and content["data"]["state"].get("_model_name") == "ButtonModel":
                stop = content["comm_id"]
            if kind == "display_data":
                return request, stop


@pytest.fixture(scope="module")
def page():
    opened = Page()
    try:
        opened.run(PREPARE)
        yield opened
    finally:
        opened.close()


@pytest.fixture
def slider(page):
    page.run("explorer.queued = type(explorer).queued; explorer.move(speed=3); explorer.view.calls.clear()")
    return page.value("explorer.controls['speed'].model_id")


def test_queued_moves_are_merged_and_the_last_one_is_painted(page, slider):
    page.run("explorer.queued = 0.5")
    for place in range(100, 200):
        last = page.move(slider, place)
    page.idle(last)
    page.run("import asyncio\nwhile explorer._pending: await asyncio.sleep(0.01)")
    calls, sentence, shown = page.value("(explorer.view.calls, explorer._sentence, explorer._foot.value)")
    assert calls[-1] == 199 and len(calls) < 50
    assert sentence == "At speed 199 the height is 1.00." and sentence in shown


@answered_while_running
def test_a_slider_moved_while_a_cell_trains_is_drawn_and_reported_done(page, slider):
    page.run("explorer.queued = 0")  # however soon a move follows, it is drawn by itself
    request, stop = page.start_training()
    for place in (7, 8, 9):  # JupyterLab sends the next place only after this report
        moved = page.move(slider, place)
        seen = page.idle(moved)
        assert not any(kind == "status" and parent == request and content["execution_state"] == "idle"
                       for kind, content, parent in seen)  # fmt: skip
    page.press(stop)
    page.idle(request)
    assert page.value("explorer.view.calls") == [7, 8, 9]


def test_afterwards_a_slider_is_reported_done_once(page, slider):
    moved = page.move(slider, 5)
    page.idle(moved)
    after = page.idle(page.start("pass"))
    assert not [content for kind, content, parent in after if kind == "status" and parent == moved]


@answered_while_running
def test_stop_ends_the_cell_and_the_next_one_sees_the_shorter_history(page):
    request, stop = page.start_training()
    following = page.start("print(len(history), history.stopped)")
    page.press(stop)
    seen = page.idle(request)
    assert not [content for kind, content, _ in seen if kind == "error"]
    shown = [content["data"] for kind, content, _ in seen if kind == "display_data"]
    assert len(shown) == 1 and set(shown[0]) == {"image/png", "text/plain"}
    assert shown[0]["text/plain"].startswith("Ended after ")
    (line,) = [content["text"] for kind, content, _ in page.idle(following) if kind == "stream"]
    steps = int(line.split()[0])
    assert 0 < steps < 10**7 and line == f"{steps} stopped after step {steps} of 10000000\n"


def test_the_kernels_interrupt_keeps_the_history_and_the_next_cell_runs(page):
    request, _ = page.start_training()
    page.manager.interrupt_kernel()
    assert not [content for kind, content, _ in page.idle(request) if kind == "error"]
    assert page.value("0 < len(history) < 10**7")


def test_the_output_of_the_widgets_is_hidden_in_the_saved_notebook(page):
    seen = page.run(TRAIN.replace("10**7", "5"))
    first, still = [content["data"] for kind, content, _ in seen if kind == "display_data"]
    assert set(first) == {"application/vnd.jupyter.widget-view+json"}
    (hidden,) = [content["data"] for kind, content, _ in seen if kind == "update_display_data"]
    assert hidden["application/vnd.jupyter.widget-view+json"]["model_id"] == ""
    assert still["text/plain"].startswith("5 steps: the loss went from ")
