"""Weights with the outliers that trained Transformers have, for tests and the study.

What is simulated (Sun et al. 2024, Massive activations; Dettmers et al. 2022): heavy tails of the
weights; a few channels with large LayerNorm gains; and a few residual channels that one block's
``mlp.c_proj`` makes 50 to 1,000 times larger than the rest, to which later LayerNorms have adapted.
"""

import numpy as np

LARGE, MASSIVE = 4, 4
MLP = ("mlp.c_fc.weight", "mlp.c_proj.weight")


def with_outliers(tensors, prefix, width, layers, seed=0, factor=1000.0):
    """A copy of ``tensors`` in which the tower under ``prefix`` has outliers."""
    dice = np.random.default_rng(seed)
    channels = dice.choice(width, LARGE + MASSIVE, replace=False)
    massive, large = channels[:MASSIVE], channels[MASSIVE:]
    factors = np.exp(dice.uniform(np.log(50), np.log(factor), MASSIVE)).astype(np.float32)
    spread = np.sqrt(1 + (factors**2).sum() / width)  # of a token, once it has them
    source = min(1, layers - 1)
    found = dict(tensors)
    for block in range(layers):
        name = f"{prefix}transformer.resblocks.{block}"
        for norm, weight in (("ln_1", "attn.in_proj_weight"), ("ln_2", "mlp.c_fc.weight")):
            gain = np.exp(0.3 * dice.standard_normal(width))
            gain[large] *= dice.uniform(4, 20, LARGE)
            flows = gain.copy()  # how large each channel leaves the LayerNorm
            if block > source:
                gain *= spread
                gain[massive] = dice.uniform(0.05, 1, MASSIVE)
                flows[massive] = gain[massive] * factors / spread
            found[f"{name}.{norm}.weight"] = gain.astype(np.float32)
            # Training keeps the outputs at their scale: attention that is all or nothing would be
            # chaotic in float32 too.
            matrix = found[f"{name}.{weight}"] / np.sqrt((flows**2).mean())
            found[f"{name}.{weight}"] = matrix.astype(np.float32)
        for weight in ("attn.in_proj_weight", "attn.out_proj.weight", *MLP):
            value = found[f"{name}.{weight}"]
            tails = np.sqrt(3 / dice.chisquare(5, value.shape)) / np.sqrt(5 / 3)
            found[f"{name}.{weight}"] = (value * tails).astype(np.float32)
    last = f"{prefix}transformer.resblocks.{source}.mlp.c_proj"
    found[f"{last}.weight"] = found[f"{last}.weight"].copy()
    found[f"{last}.weight"][massive] *= factors[:, None] / 5
    found[f"{last}.bias"] = found[f"{last}.bias"].copy()
    found[f"{last}.bias"][massive] = factors * dice.choice([-1, 1], MASSIVE)
    return found
