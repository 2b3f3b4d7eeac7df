"""``sweep``: a training for each rank, alpha and learning rate, divided among the processes that torchrun starts."""

import argparse
import json
from itertools import product

from lora_teach.cli.training import run
from lora_teach.utils import processes


def sweep(options):
    """Train every combination into a folder of its own; print one line of JSON a run, as soon as it is done.

    The runs take turns over the processes, and each trains by itself. A run that blows up is told as such.
    """
    from lora_teach import NonFiniteLoss

    number, among = processes.place()
    with processes.apart():
        for chosen in list(_runs(options))[number::among]:
            told = {"rank": chosen.rank, "alpha": chosen.alpha or chosen.rank, "lr": chosen.lr, "out": str(chosen.out)}
            try:
                history = run(chosen)
            except NonFiniteLoss as error:
                history, told["error"] = error.history, str(error)
            else:
                recent = history.loss[-10:]
                told |= {"loss": sum(recent) / len(recent), "stopped": history.stopped}
                if history.validation:
                    told |= {"validation": min(loss for _, loss in history.validation), "kept_step": history.best}
            told |= {"steps": len(history), "seconds": round(sum(history.seconds), 1), "process": number}
            print(json.dumps(told, ensure_ascii=False), flush=True)
            if history.stopped and "interrupted" in history.stopped:
                raise KeyboardInterrupt


def _runs(options):
    """Yield the options of each run, in the same order in every process."""
    kept = {name: value for name, value in vars(options).items() if name not in ("ranks", "alphas", "lrs")}
    ranks, alphas, lrs = (getattr(options, f"{name}s") or [getattr(options, name)] for name in ("rank", "alpha", "lr"))
    for rank, alpha, lr in product(dict.fromkeys(ranks), dict.fromkeys(alphas), dict.fromkeys(lrs)):
        name = f"rank{rank}-alpha{alpha or rank:g}-lr{lr:g}"
        own = {"rank": rank, "alpha": alpha, "lr": lr, "out": options.out / name}
        if options.checkpoint is not None:
            own["checkpoint"] = options.checkpoint / name
        yield argparse.Namespace(**kept | own)
