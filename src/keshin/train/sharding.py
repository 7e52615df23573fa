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

TOWERS = ("image", "text")


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


def local(tensor: Tensor) -> Tensor:
    """This process's piece of a tensor, or all of one that is not in pieces."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


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


def clip(named: Iterable[tuple[str, nn.Parameter]], limit: float, world: World) -> dict[str, float]:
    """Scale the gradients down to a norm of ``limit``; the norms that they had, of all pieces.

    ``gradient_norm`` is that of everything, ``gradient_norm_image`` and ``gradient_norm_text`` are
    those of the towers, where they are trained.
    """
    grads = [(tower_of(name, p), p.grad) for name, p in named if p.grad is not None]
    pieces = [(tower, g.to_local()) for tower, g in grads if isinstance(g, DTensor)]
    entire = [(tower, g) for tower, g in grads if not isinstance(g, DTensor)]
    squares = _squares(entire)
    if pieces:
        squares = squares + world.sum(_squares(pieces))
    norms = squares.sqrt()
    factor = torch.clamp(limit / (norms[0] + 1e-6), max=1.0)  # as PyTorch's clip_grad_norm_
    if limit < float("inf"):
        torch._foreach_mul_([g for _, g in pieces + entire], factor)
    there = {tower for tower, _ in grads}
    values = zip(("", *TOWERS), norms.tolist(), strict=True)
    return {
        f"gradient_norm_{tower}" if tower else "gradient_norm": norm
        for tower, norm in values
        if not tower or tower in there
    }


def tower_of(name: str, parameter: nn.Parameter) -> str:
    """The tower that a parameter belongs to; none for scale, bias and what is not of the model."""
    if not parameter.ndim or name.startswith("head."):
        return ""
    return "image" if name.startswith("visual.") else "text"


def _squares(grads: list[tuple[str, Tensor]]) -> Tensor:
    """(3,) sums of squares: of everything, and of each of ``TOWERS``."""
    tensors = [grad for _, grad in grads]
    if not tensors:
        return torch.zeros(1 + len(TOWERS))
    norms = torch.stack(list(torch._foreach_norm(tensors))).square()
    found = [norms.sum()]
    for one in TOWERS:
        own = torch.tensor([tower == one for tower, _ in grads], device=norms.device)
        found.append(torch.where(own, norms, 0).sum())
    return torch.stack(found)
