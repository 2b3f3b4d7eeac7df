"""A folder keeps one run at a time: a second one would write over the first one's checkpoints."""

from contextlib import suppress

_claims = {}  # folder -> (its lock, the run that has it), of this process


def claim(folder, run):
    """Let ``run`` alone keep its checkpoints in ``folder``, until `give_up` or the end of the process.

    An earlier run of this process, such as a cell's that was left half way, gives way.

    Raises:
        OSError: Another process has the folder.
    """
    from filelock import FileLock, Timeout

    folder = folder.resolve()
    lock, _ = _claims.get(folder, (None, None))
    if lock is None:
        lock = FileLock(folder / "checkpoint.lock")
        try:
            with suppress(NotImplementedError):  # a file system without locks
                lock.acquire(timeout=0)
        except Timeout:
            raise OSError(
                f"another process is training with checkpoint={str(folder)!r}, and would write over this run. Use "
                "another folder, or wait until that one has ended."
            ) from None
    _claims[folder] = lock, run


def check_claim(folder, run):
    """Raise RuntimeError if a later run of this process has taken ``folder`` over."""
    _, owner = _claims.get(folder.resolve(), (None, None))
    if owner is not run:
        raise RuntimeError(
            f"a later run has taken over checkpoint={str(folder)!r}, so this one keeps nothing more there. Give each "
            "run a folder of its own."
        )


def give_up(folder, run):
    """Free ``folder``, if it is still this run's."""
    lock, owner = _claims.get(folder.resolve(), (None, None))
    if owner is run:
        del _claims[folder.resolve()]
        lock.release()
