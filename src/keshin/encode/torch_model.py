"""CLIP in PyTorch, for training and as the reference of the ONNX graphs.

Parameter names and shapes are OpenAI's, so that a released state dict loads as it is. Every
difference between models is a field of the fact sheet; towers are chosen by their kind through the
tables of ``torch_vision.py`` and ``torch_text.py``. Shape letters: B pictures or texts, L tokens,
E joint embedding. Sources: the paper, section 2.4 and Figure 3.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keshin.core.config import Config
from keshin.encode.torch_blocks import Transformer
from keshin.encode.torch_text import TEXT, PostNormTransformer
from keshin.encode.torch_vision import VISION, PatchDropout


class CLIP(nn.Module):
    """Both towers and the logit scale (paper, Figure 3). ``logit_scale`` is the logarithm.

    A model whose score is a sigmoid has a ``logit_bias`` too. The text tower's parameters sit at
    the top level, as in OpenAI's state dict.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.visual = VISION[type(config.vision)](config.vision, config.embed_dim)
        self._text = TEXT[type(config.text)]
        self._text.add(self, config.text, config.embed_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        if config.score.kind == "sigmoid":
            self.logit_bias = nn.Parameter(torch.tensor(-10.0))  # as SigLIP starts

    def recompute(self, on: bool = True) -> None:
        """Recompute Transformer blocks in the backward pass, to save memory."""
        for module in self.modules():
            if isinstance(module, Transformer | PostNormTransformer):
                module.recompute = on

    def leave_out_patches(self, share: float) -> bool:
        """Leave out a share of the patches while training; whether the image tower has patches."""
        found = [m for m in self.modules() if isinstance(m, PatchDropout)]
        for module in found:
            module.share = share
        return bool(found)

    def image_features(self, pictures: Tensor) -> Tensor:
        """(B, 3, h, w) preprocessed pictures -> (B, E), not normalised."""
        return cast(Tensor, self.visual(pictures))

    def probe_features(self, pictures: Tensor) -> Tensor:
        """(B, 3, h, w) preprocessed pictures -> (B, P): what a linear probe reads."""
        return self.visual.probe(pictures)

    def text_features(self, ids: Tensor, ends: Tensor) -> Tensor:
        """(B, L) ids, L up to the context length, and (B,) end-of-text positions -> (B, E)."""
        return self._text.features(self, self.config.text, ids, ends)

    def forward(self, pictures: Tensor, ids: Tensor, ends: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Unit image features (B, E), unit text features (T, E) and the scale ``exp(s)``."""
        images = F.normalize(self.image_features(pictures).float(), dim=-1)
        texts = F.normalize(self.text_features(ids, ends).float(), dim=-1)
        return images, texts, self.logit_scale.exp()
