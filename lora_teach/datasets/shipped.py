"""Finding the small files that the repository ships in ``data/``."""

from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "data"  # the package is installed with -e, so the repository is around it


def shipped_file(name, command):
    """Return the path of a file in ``data/``; a FileNotFoundError tells the command that makes a missing one."""
    path = DATA / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing. Run `{command}` in {DATA.parent} to make it. "
            "(The package looks for data/ beside lora_teach/, so install the repository with `pip install -e .`.)"
        )
    return path
