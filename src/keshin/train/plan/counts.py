"""How many numbers the towers have, and where; of a model that has shapes but no numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from keshin.core.config import Config
from keshin.encode.torch_model import CLIP
from keshin.train.sharding import blocks


@dataclass(frozen=True)
class Counts:
    """Numbers, not bytes."""

    image: int
    text: int
    other: int
    """The logit scale and bias, and a layer that guesses a teacher's classes."""
    buffers: int
    trained: int
    image_blocks: int
    """In the blocks of a Transformer, which FSDP puts together one by one."""
    text_blocks: int
    largest_block: int

    @property
    def parameters(self) -> int:
        """All that are learnt or could be."""
        return self.image + self.text + self.other

    @property
    def outside_blocks(self) -> int:
        """What FSDP puts together once for the whole step."""
        return self.parameters - self.image_blocks - self.text_blocks


def count(
    config: Config, *, set_up: Callable[[CLIP], None] = lambda model: None, classes: int = 0
) -> Counts:
    """Count the parameters of a fact sheet's towers; arguments as for ``work.trace``."""
    with FakeTensorMode():
        model = CLIP(config)
        set_up(model)
        head = nn.Linear(config.embed_dim, classes) if classes else None
        single = ("logit_scale", "logit_bias")
        named = dict(model.named_parameters())
        image = sum(p.numel() for name, p in named.items() if name.startswith("visual."))
        others = sum(p.numel() for name, p in named.items() if name in single)
        extra = _size(head) if head is not None else 0
        inside = [(_size(block), block) for block in blocks(model)]
        seen = {id(module) for module in model.visual.modules()}
        of_image = sum(size for size, block in inside if id(block) in seen)
        return Counts(
            image=image,
            text=sum(p.numel() for p in named.values()) - image - others,
            other=others + extra,
            buffers=sum(b.numel() for b in model.buffers() if b.is_floating_point()),
            trained=sum(p.numel() for p in named.values() if p.requires_grad) + extra,
            image_blocks=of_image,
            text_blocks=sum(size for size, _ in inside) - of_image,
            largest_block=max((size for size, _ in inside), default=0),
        )


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
