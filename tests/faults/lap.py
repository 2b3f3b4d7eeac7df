"""One lap through what a user does: train, save, load, mix, merge, X-ray, a picture, the command line.

python -m tests.faults.lap FOLDER [SETTING]  does it in one of SETTINGS, and asserts what must come of it.
"""

import sys
from contextlib import ExitStack
from pathlib import Path

from lora_teach import LoRAModel, cli, train
from lora_teach.live import explore
from lora_teach.peft_format.xray import xray
from lora_teach.pictures.turn_it_down import TurnItDown
from tests.toy import bits, mlp, numbers, pairs, same_bits

import matplotlib
import numpy as np
import torch
from torch import nn


def _float64(stack):
    torch.set_default_dtype(torch.float64)
    stack.callback(torch.set_default_dtype, torch.float32)


def _deterministic(stack):
    torch.use_deterministic_algorithms(True)


def _one_thread(stack):
    torch.set_num_threads(1)


def _dark(stack):
    matplotlib.style.use("dark_background")


def _tex(stack):
    matplotlib.rcParams["text.usetex"] = True


def _no_fonts(stack):
    matplotlib.rcParams["font.family"] = "No Such Font"


SETTINGS = {
    "as usual": lambda stack: None,
    "default dtype float64": _float64,
    "gradients off": lambda stack: stack.enter_context(torch.no_grad()),
    "inference mode": lambda stack: stack.enter_context(torch.inference_mode()),
    "deterministic algorithms": _deterministic,
    "one thread": _one_thread,
    "numpy raises": lambda stack: stack.enter_context(np.errstate(all="raise")),
    "dark style": _dark,
    "TeX for every text": _tex,
    "a font that is missing": _no_fonts,
}
TRAINS_NOT = ("gradients off", "inference mode")


def lap(folder, setting):
    """Do it all; AssertionError where something is not as it should be."""
    with ExitStack() as stack:
        SETTINGS[setting](stack)
        folder = Path(folder)
        accents = sys.getfilesystemencoding() == "utf-8"  # else no such file can be there
        place = folder / ("adapter ä" if accents else "adapter")
        base = mlp()
        pristine, x = bits(base), numbers(4, 6)
        model = LoRAModel(base, rank=2)
        _train(model, setting)
        with torch.no_grad():
            model.save_adapter(place)
            again = LoRAModel.from_pretrained(mlp(), place)
            alone = model(x)
            assert torch.equal(again(x), alone)
            with model.merged():
                assert torch.allclose(model(x), alone, atol=1e-5)
            with model.disabled():
                assert torch.equal(model(x), mlp()(x))
            model.add_adapter("b", rank=1)
            with model.rows(["default", None, "b", "default"]):
                assert torch.allclose(model(x)[0], alone[0], atol=1e-5)
            assert "rank" in str(xray(place)) and same_bits(bits(model.remove()), pristine)
        explorer = explore(TurnItDown())
        _look(explorer)
        assert cli.main(["xray", str(place)]) == 0
        assert cli.main(["xray", str(folder / ("nichts ß" if accents else "nothing"))]) == 2


def _train(model, setting):
    try:
        history = train(model, pairs(), nn.functional.mse_loss, steps=3, lr=1e-2)
        assert len(history) == 3 and setting not in TRAINS_NOT
    except RuntimeError as error:
        assert setting in TRAINS_NOT and "Leave that block" in str(error) or "Make them outside" in str(error)


def _look(explorer):
    name, places = next(iter(explorer.limits().items()))
    explorer.controls[name].value = places[1]
    assert explorer.error is None and explorer.sentence
    corner = np.array(explorer.picture.figure.canvas.buffer_rgba())[2, 2]
    assert corner.tolist() == [255] * 4  # opaque white, whatever the style around it


if __name__ == "__main__":
    lap(sys.argv[1], " ".join(sys.argv[2:]) or "as usual")
    print("lap done")
