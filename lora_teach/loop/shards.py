"""A base in shards, by PyTorch's FSDP2: for one that is too large for each of the processes."""

from lora_teach.overlay.inspection import overlays

import torch
from torch import distributed, nn


def put_in_shards(model, shard, optimizer):
    """Divide the base's blocks among the processes, each a group, and the rest with the adapters in the root's group.

    Args:
        model: A LoRAModel, or any module; one that is in shards already stays so.
        shard: True for the model's own device, or the device that each block is moved to as it is divided.
        optimizer: The user's own, or None.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    if isinstance(model, FSDPModule):
        return
    if optimizer is not None:
        raise ValueError(
            "shard=True puts shards in the parameters' place, which your optimiser does not hold. Leave optimizer out."
        )
    _check(model)
    device = next(model.parameters()).device if shard is True else torch.device(shard)
    mesh = init_device_mesh(device.type, (distributed.get_world_size(),))
    inside = [overlay.base_model for overlay in overlays(model)] or [model]
    lists = [module for base in inside for module in base.modules() if isinstance(module, nn.ModuleList)]
    for block in max(lists, key=len, default=()):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def _check(model):
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point() or parameter.dtype.itemsize == 1:
            raise ValueError(
                f"{name} is quantised ({parameter.dtype}), and fully_shard divides plain weights. Use shard=False: a "
                "quantised base is small, and each process can hold it."
            )
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.requires_grad}
    if len(dtypes) > 1:
        raise ValueError(f"what trains is in {', '.join(map(str, dtypes))}, and fully_shard needs one dtype. Use one.")
