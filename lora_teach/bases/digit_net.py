"""DigitNet: three linear layers that read the 8 × 8 digits of ``lora_teach.datasets.digits``.

So small (26,122 parameters) that 200 training steps take a fraction of a second, and a slider can retrain it while it
is dragged.
"""

from lora_teach.datasets.shipped import shipped_file
from lora_teach.utils.evaluating import evaluating

import torch
import torch.nn.functional as F
from torch import nn


class DigitNet(nn.Module):
    """64 → 128 → 128 → 10 with ReLU between.

    Args:
        seed: Decides the initial parameters; the global random state is left as it was.

    Shapes:
        forward: float32 (batch, 64) -> logits (batch, 10).
    """

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.hidden1 = nn.Linear(64, 128)
            self.hidden2 = nn.Linear(128, 128)
            self.output = nn.Linear(128, 10)

    def forward(self, x):
        """Return the logits of the ten digits."""
        x = F.relu(self.hidden1(x))  # (batch, 128)
        x = F.relu(self.hidden2(x))  # (batch, 128)
        return self.output(x)  # (batch, 10)


def accuracy(model, x, y):
    """Return the share of pictures ``x`` (batch, 64) that the model reads as the digits ``y`` (batch,), 0 to 1."""
    device = next(model.parameters()).device
    x, y = x.to(device), y.to(device)  # (batch, 64), (batch,)
    with evaluating(model):
        return (model(x).argmax(-1) == y).float().mean().item()


def load_digit_net():
    """Return a DigitNet that was trained on upright digits, in eval mode; every call returns a new one.

    Raises:
        FileNotFoundError: ``data/digit_net.safetensors`` is missing; the message gives the command that makes it.
    """
    from safetensors.torch import load_file

    model = DigitNet()
    model.load_state_dict(load_file(shipped_file("digit_net.safetensors", "python data/make_bases.py")))
    return model.eval()
