"""The checks behind the notebooks' exercises.

Each topic has a file of its own; every function in it whose name begins with ``check_`` can be imported from here, by
``from lora_teach.exercises import TODO, check_…``. A file is loaded when one of its checks is first asked for.
"""

from importlib import import_module
from pkgutil import iter_modules

from lora_teach.exercises.check import Result
from lora_teach.exercises.thread import mine, receipt
from lora_teach.exercises.todo import TODO

__all__ = ["TODO", "Result", "mine", "receipt"]


def __getattr__(name: str):
    """Find a check in the topics' files."""
    if name.startswith("check_"):
        for topic in iter_modules(__path__):
            found = getattr(import_module(f"{__name__}.{topic.name}"), name, None)
            if found is not None:
                return found
    raise AttributeError(f"lora_teach.exercises has no {name!r}: a check's name begins with check_")


def __dir__():
    """Offer every check to the Tab key."""
    topics = [import_module(f"{__name__}.{topic.name}") for topic in iter_modules(__path__)]
    return sorted({*__all__, *(name for topic in topics for name in vars(topic) if name.startswith("check_"))})
