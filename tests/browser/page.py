"""A notebook in a real browser: run all of it, then move everything that can be moved, with the keyboard."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlparse

from tests.browser.controls import CHOICE, OTHER, SLIDER, keys_for, look, name_of
from tests.browser.lab import Lab

if TYPE_CHECKING:  # plain pytest reads this file where playwright is not installed
    from playwright.sync_api import BrowserContext, Locator, Page

SECONDS_TO_OPEN = 90
SECONDS_TO_RUN = 900  # all cells; one notebook trains a real language model, on a machine that may be busy
SECONDS_TO_ANSWER = 30  # one move, which may train for real
SECONDS_OF_REST = 2  # of the kernel, after which a move that has changed nothing will change nothing
SECONDS_BETWEEN_CELLS = 10  # that the kernel may wait for the next cell, on a busy machine
MOST_PIXELS = 16_000  # height of a screenshot
SIZE = {"width": 1400, "height": 1000}
RUN_ALL = "() => window.jupyterapp.commands.execute('notebook:run-all-cells')"
START_ALL = f"() => {{ window.ran = ({RUN_ALL})() }}"  # promises nothing to who starts it
# JupyterLab's command ends at the first cell that raises, on purpose or not; the cells after one that raises on purpose
# run all the same. So: wait until every cell has a number, or the kernel has rested for longer than it does in between.
FINISH_ALL = """async ([mostSeconds, restSeconds]) => {
    const panel = window.jupyterapp.shell.currentWidget;
    const model = panel.content.model;
    await window.ran?.catch(() => null);
    const started = performance.now();
    const cells = () => Array.from({length: model.cells.length}, (_, index) => model.cells.get(index));
    const unrun = () => cells().some(cell => cell.type === 'code' && !cell.executionCount);
    let lastBusy = performance.now();
    while (unrun() || panel.sessionContext.session.kernel.status !== 'idle') {
        const now = performance.now();
        if (panel.sessionContext.session.kernel.status !== 'idle') lastBusy = now;
        if (now - lastBusy > 1000 * restSeconds || now - started > 1000 * mostSeconds) break;
        await new Promise(resolve => setTimeout(resolve, 50));
    }
}"""
CELLS = """() => {
    const model = window.jupyterapp.shell.currentWidget.content.model;
    const text = part => [part ?? ''].flat().join('');
    return Array.from({length: model.cells.length}, (_, index) => model.cells.get(index)).map((cell, index) => ({
        index,
        code: cell.type === 'code',
        count: cell.executionCount ?? null,
        tags: cell.getMetadata('tags') ?? [],
        errors: cell.type !== 'code' ? [] : cell.outputs.toJSON()
            .filter(output => output.output_type === 'error')
            .map(output => `${output.ename}: ${output.evalue}`),
        text: cell.type !== 'code' ? '' : cell.outputs.toJSON()
            .map(output => text(output.text) + text(output.data?.['text/plain'])).join(''),
    }));
}"""
IDLE = "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"


@dataclass
class Cell:
    """A cell as it stands; its text is what it printed, and what it showed as plain text."""

    index: int
    code: bool
    count: int | None
    tags: list[str]
    errors: list[str]
    text: str


class Opened:
    """A notebook opened in the browser.

    Attributes:
        page: Playwright's page.
        foreign: Addresses outside this machine that the page asked for; they were refused.
        failed: What was reported under the pictures while `move_everything` moved them.
    """

    def __init__(self, context: BrowserContext, lab: Lab, name: str):
        self.foreign: list[str] = []
        self.failed: list[str] = []
        context.route(_is_foreign, self._refuse)
        self.page: Page = context.new_page()
        self.page.set_viewport_size(SIZE)
        self.page.on("websocket", lambda socket: _is_foreign(socket.url) and self.foreign.append(socket.url))
        self.page.goto(lab.url(name), timeout=SECONDS_TO_OPEN * 1000)
        self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell").first.wait_for(
            timeout=SECONDS_TO_OPEN * 1000
        )
        self.wait_until_idle(SECONDS_TO_OPEN)

    def wait_until_idle(self, seconds: float = SECONDS_TO_ANSWER) -> None:
        """Wait until the kernel has nothing to do, and so the pictures are what they will be."""
        self.page.wait_for_function(IDLE, timeout=seconds * 1000)

    def run_all(self) -> list[Cell]:
        """Run all cells as the menu's Run All Cells does, and return what became of them."""
        self.start_all()
        return self.finish_all()

    def start_all(self) -> None:
        """Begin to run all cells, and wait for none."""
        self.page.evaluate(START_ALL)

    def press_stop(self) -> None:
        """Wait for a training's Stop button, and for its first step, and press it."""
        stop = self.page.get_by_role("button", name="Stop")
        output = self.page.locator(".jp-Cell").filter(has=stop).first
        output.wait_for(timeout=SECONDS_TO_RUN * 1000)
        self.until(lambda: "step 0 of" not in output.inner_text(), SECONDS_TO_RUN)
        output.get_by_role("button", name="Stop").press("Enter")

    def finish_all(self) -> list[Cell]:
        """Wait until all cells have run, and return what became of them."""
        self.page.evaluate(FINISH_ALL, [SECONDS_TO_RUN, SECONDS_BETWEEN_CELLS])
        return self.cells()

    def cells(self) -> list[Cell]:
        """Return all cells as they stand."""
        return [Cell(**cell) for cell in self.page.evaluate(CELLS)]

    def cell(self, index: int) -> Locator:
        """Return a cell's place on the page."""
        return self.page.locator(".jp-Cell").nth(index)

    def until(self, is_so: Callable[[], bool], seconds: float = SECONDS_TO_ANSWER) -> bool:
        """Look again and again until something is so, and tell whether it came to be."""
        started = time.monotonic()
        while not (came := is_so()) and time.monotonic() < started + seconds:
            self.page.wait_for_timeout(50)
        return came

    def hold(self, control: Locator, key: str, times: int) -> None:
        """Hold a key down: it repeats as fast as the browser takes it, and nothing is waited for in between."""
        control.focus()
        for _ in range(times):
            self.page.keyboard.down(key)
        self.page.keyboard.up(key)

    def outputs(self) -> list[Locator]:
        """Return the outputs that hold something to move."""
        outputs = self.page.locator(".jp-Cell .jp-OutputArea-child")
        movable = outputs.filter(has=self.page.locator(f"{SLIDER}, {CHOICE}, {OTHER}:not([disabled])"))
        return [movable.nth(index) for index in range(movable.count())]

    def move_everything(self) -> tuple[list[str], list[str]]:
        """Move each control and watch its picture; return what was moved, and what changed nothing.

        A control may rightly change nothing where another one stands (a language at strength 0), or wait for another
        one to be pressed, so those that did not move anything are tried again after the others were moved. What a
        button begins is waited for as long as there is a Stop button to press.
        """
        moved, still = [], []
        for number, output in enumerate(self.outputs()):
            controls = []
            # Buttons and menus first: where sliders start is where these make a difference.
            for kind in (OTHER, CHOICE, SLIDER):
                found = output.locator(kind)
                controls += [(kind, found.nth(index)) for index in range(found.count())]
            again = []
            for turn in (controls, again):
                for kind, control in turn:
                    if not control.count():
                        continue  # another control has taken this one's options away
                    name = f"output {number}: {name_of(control)}"
                    if name.endswith(" Stop"):
                        continue
                    enabled = control.is_enabled()
                    if enabled and self._changes(output, kind, control):
                        moved.append(name)
                    elif turn is controls:
                        again.append((kind, control))
                    elif enabled:
                        still.append(name)
                    assert self._comes_to_rest(output), f"{name}: this never ends"
        return moved, still

    def failures(self) -> list[str]:
        """Return what is reported under the pictures now."""
        reports = self.page.locator(".jp-OutputArea-output").get_by_text(re.compile("This (move|run) failed"))
        return [reports.nth(index).locator("xpath=..").inner_text() for index in range(reports.count())]

    def screenshot(self, path) -> None:
        """Take a picture of the whole notebook, not only of what a window would show."""
        panels = self.page.locator(".jp-WindowedPanel-outer, .jp-Notebook")
        height = panels.evaluate_all("panels => Math.max(...panels.map(panel => panel.scrollHeight))")
        self.page.set_viewport_size({"width": SIZE["width"], "height": min(height + 200, MOST_PIXELS)})
        panels.evaluate_all("panels => panels.forEach(panel => panel.scrollTo(0, 0))")
        self.page.wait_for_timeout(500)  # for the layout to follow
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path)
        self.page.set_viewport_size(SIZE)

    def close(self) -> None:
        """End the notebook's kernel and close the page."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
        self.page.close()

    def _changes(self, output: Locator, kind: str, control: Locator) -> bool:
        """Move a control by keyboard until its output looks different; what a button changes may be words alone."""
        before, words = look(output), output.inner_text()
        control.scroll_into_view_if_needed()
        control.focus()
        for key in keys_for(kind, control):
            if isinstance(key, int):
                control.select_option(index=key)  # in a menu, JupyterLab takes the arrows for its cells
            else:
                control.press(key)
            started = last_busy = time.monotonic()
            while last_busy + SECONDS_OF_REST > time.monotonic() < started + SECONDS_TO_ANSWER:
                self.page.wait_for_timeout(50)
                if look(output) != before:
                    self.wait_until_idle()
                    return True
                if self._busy(output):
                    last_busy = time.monotonic()
            self.failed += self.failures()  # the next move may work, and take the report away
        return "widget-button" in control.get_attribute("class") and output.inner_text() != words

    def _comes_to_rest(self, output: Locator) -> bool:
        return self.until(lambda: not self._busy(output), SECONDS_TO_RUN)

    def _busy(self, output: Locator) -> bool:
        """Tell whether the kernel works, or something that a button began, which the kernel doesn't count as work."""
        stop = output.locator(f"{OTHER}:not([disabled])").filter(has_text=re.compile(r"^\s*Stop\s*$"))
        return not self.page.evaluate(IDLE) or stop.count() > 0

    def _refuse(self, route) -> None:
        self.foreign.append(route.request.url)
        route.abort()


def _is_foreign(url: str) -> bool:
    address = urlparse(url)
    return address.scheme in ("http", "https", "ws", "wss") and address.hostname != "127.0.0.1"
