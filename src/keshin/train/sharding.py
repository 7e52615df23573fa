"""Weights, gradients and optimiser state in pieces over the processes (PyTorch's FSDP2).

For towers that one device cannot hold. Each Transformer block is put together when it is computed,
and taken apart again. What is saved is whole: a run may go on with another number of processes, or
without shards. Every function here is called by all processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from keshin.encode.torch_blocks import ResidualBlock
from keshin.encode.torch_text import PostNormBlock
from keshin.train.distributed import World


def shard(towers: nn.Module, device: torch.device, world: World) -> nn.Module:
    """Cut the parameters of ``towers`` into pieces, in place.

    Single numbers (the logit scale and bias) cannot be cut and stay whole.
    """
    mesh = init_device_mesh(device.type, (world.size,))
    for block in blocks(towers):
        fully_shard(block, mesh=mesh)
    fully_shard(towers, mesh=mesh, ignored_params=set(scalars(towers)))
    return towers


def blocks(towers: nn.Module) -> list[nn.Module]:
    """The blocks that are put together one by one."""
    return [m for m in towers.modules() if isinstance(m, ResidualBlock | PostNormBlock)]


def scalars(towers: nn.Module) -> list[nn.Parameter]:
    """The parameters that are single numbers."""
    return [parameter for parameter in towers.parameters() if not parameter.ndim]


def whole(tree: Any) -> Any:
    """The same with each tensor put together, in nested mappings too."""
    if isinstance(tree, Mapping):
        return {key: whole(value) for key, value in tree.items()}
    return tree.full_tensor() if isinstance(tree, DTensor) else tree


def cut(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor as ``like`` lies over the processes."""
    if not isinstance(like, DTensor) or value.shape != like.shape:
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


def cut_all(values: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors as their namesakes lie over the processes."""
    return {name: cut(value, like[name]) for name, value in values.items()}


def cut_states(values: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A whole optimiser state as the parameters lie over the processes."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    states = {
        index: {name: cut(v, parameters[index]) if v.ndim else v for name, v in state.items()}
        for index, state in values["state"].items()
    }
    return {**values, "state": states}


def clip(parameters: Iterable[nn.Parameter], limit: float, world: World) -> float:
    """Scale the gradients down to a norm of ``limit``; the norm that they had, of all pieces."""
    grads = [p.grad for p in parameters if p.grad is not None]
    pieces = [g.to_local() for g in grads if isinstance(g, DTensor)]
    entire = [g for g in grads if not isinstance(g, DTensor)]
    norm = _squares(entire)
    if pieces:
        norm = norm + world.sum(_squares(pieces))
    norm = norm.sqrt()
    factor = torch.clamp(limit / (norm + 1e-6), max=1.0)  # as PyTorch's clip_grad_norm_
    if limit < float("inf"):
        torch._foreach_mul_(pieces + entire, factor)
    return float(norm)


def _squares(tensors: list[Tensor]) -> Tensor:
    norms = list(torch._foreach_norm(tensors)) if tensors else []
    return torch.stack(norms).square().sum() if norms else torch.zeros(())
