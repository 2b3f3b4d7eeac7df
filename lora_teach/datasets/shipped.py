"""Finding the small files that the repository ships in ``data/``."""

from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "data"  # the package is installed with -e, so the repository is around it


def shipped_file(name, command):
    """Return the path of a file in ``data/``.

    Args:
        name: Path below ``data/``, for example ``"names/finnish.txt"``.
        command: The command that makes the file, run in the repository's root; it stands in the error.

    Raises:
        FileNotFoundError: The file is not there; the message gives the full path and the command.
    """
    path = DATA / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing. Run `{command}` in {DATA.parent} to make it. "
            "(The package looks for data/ beside lora_teach/, so install the repository with `pip install -e .`.)"
        )
    return path
