"""An encoder trims a batch of texts only where that cannot change a vector."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from keshin.core.config import TextTransformer
from keshin.encode.encoder import Encoder
from keshin.encode.torch_model import CLIP
from keshin.encode.torch_towers import TorchTowers


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("pool", ["end-of-text", "last", "first"])
def test_a_text_has_one_vector_whatever_is_beside_it(tiny_checkpoint, causal, pool):
    from msgspec.structs import replace

    config = tiny_checkpoint.config
    text = replace(config.text, causal=causal, pool=pool)
    assert isinstance(text, TextTransformer)
    config = replace(config, text=text)
    torch.manual_seed(0)
    encoder = Encoder(config, tiny_checkpoint.tokenizer(), TorchTowers(CLIP(config)), 10.0)
    short, long = "a cat", "a photo of a dog and a bird and a cat"
    alone = encoder.encode_texts([short])[0]
    beside = encoder.encode_texts([long, short])[1]
    assert np.abs(alone - beside).max() < 1e-5
