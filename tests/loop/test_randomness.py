"""Random numbers of a run."""

from lora_teach.loop.randomness import IsolatedRandomness

import torch


def test_draws_inside_continue_each_other_and_leave_the_callers_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    mine, drawn, outside = IsolatedRandomness(3, torch.device("cpu")), [], []
    for _ in range(3):
        with mine:
            drawn.append(torch.rand(()))
        outside.append(torch.rand(()))
    assert torch.equal(torch.stack(outside), expected)
    assert torch.equal(torch.stack(drawn), torch.rand(3, generator=torch.Generator().manual_seed(3)))
