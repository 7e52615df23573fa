"""The work and the memory of the towers, from a step that is traced and not computed.

PyTorch runs the towers forward and backward over tensors that have shapes but no numbers
(``FakeTensorMode``). So floating-point operations and the tensors that autograd keeps are those of
the real code, whatever the tower's kind, with patches left out, captions at their lengths and
blocks recomputed; there is no second description of the towers that could drift from the first.

Operations are those of matrix products, convolutions and attention (a multiplication and an
addition are two), as PyTorch's own counter has them; causal attention counts as the whole square.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from keshin.core.config import Config
from keshin.encode.torch_model import CLIP
from keshin.train.passes import Group, Towers


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _attention_back(grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(grad, query, key, value))  # type: ignore[no-untyped-call]


ATTENTION = {  # PyTorch's counter knows the kernels of GPUs only
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_back,
}
TextShapes = Sequence[tuple[int, int]]
"""(texts, tokens) of each group of texts that is encoded together."""


@dataclass(frozen=True)
class Work:
    """One pass of the towers over some pictures and texts. Sizes in bytes, above the weights."""

    image_forward: int
    """Floating-point operations of the image tower."""
    text_forward: int
    forward: int
    backward: int
    """With what is recomputed in it."""
    kept: int
    """What the forward pass leaves for the backward one."""
    peak: int
    """The most that there is at once, growing gradients included."""
    peak_again: int
    """The same where the gradients are there already, beside them."""


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the tensors that are alive; those ``known`` before are not counted."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._seen: dict[int, Any] = {t.untyped_storage()._cdata: t for t in known}

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        found = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor):
                self._see(leaf.untyped_storage())
        return found

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._seen:
            return

        def gone(_: object) -> None:
            self.live -= size
            self._seen.pop(key, None)

        self._seen[key] = weakref.ref(storage, gone)
        self.live += size
        self.peak = max(self.peak, self.live)


def trace(
    config: Config,
    pictures: int,
    texts: TextShapes,
    *,
    set_up: Callable[[CLIP], None] = lambda model: None,
    classes: int = 0,
    plain: bool = False,
    half: bool = False,
) -> Work:
    """The work of one pass over ``pictures`` and groups of ``texts``.

    ``set_up`` prepares the model as the run does; ``classes``: of the teacher that a linear layer
    guesses; ``plain``: see ``Towers``; ``half``: under bfloat16's autocast.
    """
    with FakeTensorMode():
        model = CLIP(config)
        set_up(model)
        head = nn.Linear(config.embed_dim, classes) if classes else None
        towers = Towers(model, head, plain=plain)  # in training mode, but for what set_up locks
        pixels, groups = _inputs(config, pictures, texts)
        image = _operations(lambda: model.image_features(pixels), half)
        text = _operations(lambda: [model.text_features(*group) for group in groups], half)
        with _Live(
            [*towers.parameters(), *towers.buffers(), *(t for g in groups for t in g)]
        ) as live:
            forward, kept, backward = _both_ways(towers, pixels, groups, half, live)
            peak, live.peak = live.peak, live.live
            gradients = live.live
            _both_ways(towers, pixels, groups, half, live)
        return Work(image, text, forward, backward, kept, peak, live.peak - gradients)


def _inputs(config: Config, pictures: int, texts: TextShapes) -> tuple[Tensor, list[Group]]:
    groups = [
        (torch.zeros(count, length, dtype=torch.long), torch.zeros(count, dtype=torch.long))
        for count, length in texts
    ]
    pixels = torch.empty(pictures, 3, *config.vision.image_size)
    return pixels.contiguous(memory_format=torch.channels_last), groups


def _counter() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping=dict(ATTENTION))


def _cast(half: bool) -> AbstractContextManager[object]:
    return torch.autocast("cpu", torch.bfloat16) if half else nullcontext()


def _operations(run: Callable[[], object], half: bool) -> int:
    with _counter() as counter, torch.no_grad(), _cast(half):
        run()
    return int(counter.get_total_flops())


def _both_ways(
    towers: Towers, pixels: Tensor, groups: list[Group], half: bool, live: _Live
) -> tuple[int, int, int]:
    """Operations forward, bytes kept, operations backward."""
    with _counter() as forward, _cast(half):
        # As ``step._parts`` does it: the pixels become numbers here, and are part of what is kept.
        features = towers(pixels / 255 - 0.5, groups)
    kept = live.live
    outputs = [value for value in features.values() if value.requires_grad]
    with _counter() as backward:
        torch.autograd.backward(outputs, [torch.zeros_like(value) for value in outputs])
    return int(forward.get_total_flops()), kept, int(backward.get_total_flops())
