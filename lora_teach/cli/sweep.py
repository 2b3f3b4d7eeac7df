"""``sweep``: a training for each rank, alpha and learning rate, divided among the processes that torchrun starts."""

import argparse
import json
from itertools import product

from lora_teach.cli.common import print_result
from lora_teach.cli.training import check_places, run
from lora_teach.utils import processes


def sweep(options):
    """Train every combination into a folder of its own; print one line of JSON a run, as soon as it is done.

    The runs take turns over the processes, and each trains by itself. A run that blows up is told as such.
    """
    from lora_teach import NonFiniteLoss

    number, among = processes.place()
    with processes.apart():
        own = list(_runs(options))[number::among]
        for chosen in own:
            check_places(chosen)
        for chosen in own:
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
            print_result(json.dumps(told, ensure_ascii=False), json.dumps(told))
            if history.stopped and "interrupted" in history.stopped:
                raise KeyboardInterrupt


def _runs(options):
    """Yield the options of each run, in the same order in every process."""
    kept = {name: value for name, value in vars(options).items() if name not in ("ranks", "alphas", "lrs")}
    ranks, alphas, lrs = (getattr(options, f"{name}s") or [getattr(options, name)] for name in ("rank", "alpha", "lr"))
    for rank, alpha, lr in product(dict.fromkeys(ranks), dict.fromkeys(alphas), dict.fromkeys(lrs)):
        name = "-".join(
            f"{what}{value}".removesuffix(".0")
            for what, value in (("rank", rank), ("alpha", alpha or rank), ("lr", lr))
        )  # in full, so that no two are alike
        own = {"rank": rank, "alpha": alpha, "lr": lr, "out": options.out / name}
        if options.checkpoint is not None:
            own["checkpoint"] = options.checkpoint / name
        yield argparse.Namespace(**kept | own)
