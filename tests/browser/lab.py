"""A JupyterLab of our own for the browser tests: on this machine only, with its own settings, ended afterwards."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECONDS_TO_START = 90
SECONDS_TO_END = 15
# What JupyterLab would otherwise do at its first start, or for speed, that a test does not want.
SETTINGS = {
    # Cells outside the window exist too, so that their sliders can be found.
    "notebook-extension/tracker": {"windowingMode": "none", "scrollPastEnd": False},
    # No question about news, and no look for updates.
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "docmanager-extension/plugin": {"autosave": False},
}


class Lab:
    """A running JupyterLab over a copy of the course, in a folder that is thrown away.

    Args:
        folder: Where the copy, the settings and the log go.
        notebooks: The notebooks to copy; what lies beside their folder, data/ among it, is copied too.

    Attributes:
        address: ``http://127.0.0.1:PORT``, without a slash at its end.
    """

    def __init__(self, folder: Path, notebooks: list[Path]):
        self.log = folder / "jupyterlab.log"
        course = folder / "course"
        (course / "notebooks").mkdir(parents=True)
        for path in notebooks:
            shutil.copy(path, course / "notebooks")
        for beside in (path for path in ROOT.iterdir() if path.is_file()):
            shutil.copy(beside, course)  # README, requirements.txt: what a notebook may look into
        if (ROOT / "data").is_dir():
            shutil.copytree(ROOT / "data", course / "data")
        for name, values in SETTINGS.items():
            file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values), encoding="utf-8")
        self.token = secrets.token_hex(16)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"),
                    *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"),
                    f"--ServerApp.root_dir={course}",
                    f"--LabApp.user_settings_dir={folder / 'settings'}",
                    f"--LabApp.workspaces_dir={folder / 'workspaces'}",
                    "--LabApp.extension_manager=readonly",
                ],
                env=os.environ
                | {
                    "PYTHONPATH": str(ROOT),  # the library beside these tests, whatever else is installed
                    "JUPYTER_TOKEN": self.token,
                    "JUPYTER_CONFIG_DIR": str(folder / "config"),
                    "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
                    "JUPYTER_PREFER_ENV_PATH": "1",
                    "IPYTHONDIR": str(folder / "ipython"),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a process group of its own, so that all of it can be ended
            )
        try:
            self._wait()
        except BaseException:
            self.end()
            raise

    def url(self, name: str) -> str:
        """Return the address that opens a notebook alone, in a workspace of its own."""
        return f"{self.address}/lab/workspaces/{Path(name).stem}/tree/notebooks/{name}?reset&token={self.token}"

    def end(self) -> None:
        """End the server, which ends its kernels; if it doesn't, end its whole process group."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                os.killpg(self.process.pid, number)
                try:
                    self.process.wait(SECONDS_TO_END)
                except subprocess.TimeoutExpired:
                    continue

    def _wait(self) -> None:
        until = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError(f"JupyterLab ended at its start:\n{self.log.read_text()[-3000:]}")
            try:
                with urllib.request.urlopen(f"{self.address}/api?token={self.token}", timeout=5):
                    return
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                time.sleep(0.2)
        raise RuntimeError(f"JupyterLab did not answer in {SECONDS_TO_START} s:\n{self.log.read_text()[-3000:]}")
