"""Keeps sliders alive while a cell awaits.

JupyterLab holds a slider's next position back until the kernel has reported "idle" for the last one. A widget message
that ipykernel handles beside a running cell gets no such report (seen in ipykernel 7.4), so a slider touched then would
never speak again, not even after the cell. While `sliders_answered` is open, the report is sent.
"""

import contextlib
import inspect

from IPython import get_ipython


@contextlib.contextmanager
def sliders_answered():
    """While this is open, each widget message that is handled beside the running cell is reported done."""
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None or "concurrent" not in inspect.signature(kernel.dispatch_shell).parameters:
        yield  # no kernel, or one that handles no widget message before the cell's end
        return
    if getattr(kernel.shell_handlers["comm_msg"], "answers", False):
        yield  # two runs in one cell: the first one's answers do for both
        return
    handle = kernel.shell_handlers["comm_msg"]
    cell = kernel.get_parent("shell")

    def handle_and_answer(stream, ident, message):
        try:
            return handle(stream, ident, message)
        finally:
            for state, parent in (("idle", message), ("busy", cell)):  # the cell is still running, so busy again
                kernel.session.send(
                    kernel.iopub_socket, "status", {"execution_state": state}, parent=parent, ident=b"status"
                )

    handle_and_answer.answers = True
    kernel.shell_handlers["comm_msg"] = handle_and_answer
    try:
        yield
    finally:
        kernel.shell_handlers["comm_msg"] = handle
