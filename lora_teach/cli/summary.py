"""What a training was, as JSON beside the adapter: data, settings, versions, losses. No reader of adapters opens it."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lora_teach.cli.common import digest

SUMMARY = "training_summary.json"
PACKAGES = ("lora-teach", "torch", "transformers", "tokenizers", "safetensors")
# Of the options: these say where files lie, or how the command behaves, and others stand for themselves below.
NOT_SETTINGS = ("command", "more", "debug", "overwrite", "out", "checkpoint", "base", "data", "validation", "device")


def summary_of(options, base, model, history, batches, counts, before):
    """Return what is told of a run, as plain values for JSON.

    Args:
        options: Those of ``train``.
        base: The base.
        model: The LoRAModel.
        history: The run's History.
        batches: What was learnt.
        counts: ``(examples learnt, examples held out)``.
        before: The validation loss before the first step, or None.
    """
    trainable, total = model.count()
    learnt, held_out = counts
    told = {
        "base": {"name": options.base, "class": type(base.model).__name__, "parameters": total - trainable},
        "data": {"file": str(options.data), "sha256": digest(options.data), "examples": learnt},
        "settings": {name: value for name, value in vars(options).items() if name not in NOT_SETTINGS},
        "trained": {"parameters": trainable, "layers": list(model.lora_layers)},
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "device": str(options.device),
        "stopped": history.stopped,
        "seconds": round(sum(history.seconds), 1),
        "loss": history.loss,
        "lr": history.lr,
    }
    if getattr(batches, "shortened", None):
        told["data"] |= {"cut": len(batches.shortened), "left_out": len(batches.left_out)}
    if options.validation is not None:
        file = options.validation if isinstance(options.validation, Path) else None
        told["validation"] = {
            "file": file and str(file), "sha256": file and digest(file), "share": None if file else options.validation,
            "examples": held_out, "loss_before": before, "loss": history.validation, "kept_step": history.best,
        }  # fmt: skip
    return told


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:  # run from a clone that is not installed, or a package that this base doesn't need
        return None
