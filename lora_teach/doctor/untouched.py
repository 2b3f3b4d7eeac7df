"""A model is looked at and left as it was, to the last bit."""

import random
import sys
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def untouched(model, trainable):
    """Afterwards modes, gradients, buffers, random numbers and all that a forward pass may write are as before."""
    modules = list(model.modules())
    modes = [(module, module.training) for module in modules]
    gradients = [(p, p.grad) for p in model.parameters()]
    buffers = [(m, dict(m._buffers), {k: b.clone() for k, b in m._buffers.items() if b is not None}) for m in modules]
    # Of the base's parameters only those are copied that a forward pass may write: a copy of all would double it.
    written = [m.weight for m in modules if isinstance(m, nn.Embedding) and m.max_norm is not None]
    written += [m.weight for m in modules if isinstance(vars(m).get("merged"), bool) and hasattr(m, "weight")]
    parameters = [(p, p.data, p.detach().clone()) for p in {id(p): p for p in [*trainable, *written]}.values()]
    merged = [(m, m.merged) for m in modules if isinstance(vars(m).get("merged"), bool)]
    numpy = sys.modules.get("numpy")
    randomness = torch.get_rng_state(), random.getstate(), numpy and numpy.random.get_state()
    on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_available() and torch.cuda.is_initialized() else None
    for p, _ in gradients:
        p.grad = None
    try:
        yield
    finally:
        for p, gradient in gradients:
            p.grad = gradient
        with torch.no_grad():
            for p, data, value in parameters:
                p.data = data
                if not same_bits(data, value):
                    data.copy_(value)
            for module, held, values in buffers:
                module._buffers.clear()
                module._buffers.update(held)
                for key, value in values.items():
                    if not same_bits(held[key], value):
                        held[key].copy_(value)
        for module, flag in merged:
            module.merged = flag
        for module, mode in modes:
            module.training = mode
        torch.set_rng_state(randomness[0])
        random.setstate(randomness[1])
        if numpy:
            numpy.random.set_state(randomness[2])
        if on_gpu is not None:
            torch.cuda.set_rng_state_all(on_gpu)


@contextmanager
def in_place_of(parameters, values):
    """Within the block each parameter has the data of its value, ``{id: tensor}``; its own data is not written."""
    own = [(p, p.data) for p in parameters]
    try:
        for p, _ in own:
            p.data = values[id(p)].data
        yield
    finally:
        for p, data in own:
            p.data = data


def evaluate(model):
    """Put every module into evaluation, without what some do in ``eval()``."""
    for module in model.modules():
        module.training = False  # not eval(): some modules by hand merge their weights in it


def same_bits(left, right):
    """Tell whether two tensors have the same bits."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    return torch.equal(*(tensor.detach().reshape(-1).view(torch.uint8) for tensor in (left, right)))
