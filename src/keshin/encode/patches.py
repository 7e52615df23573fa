"""The patches of pictures as tokens, for the towers of the ViT families."""

from __future__ import annotations

from keshin.core.config import PooledVisionTransformer, VisionTransformer
from keshin.encode.blocks import Graph, Projection


def patch_tokens(
    graph: Graph, pixels: str, facts: VisionTransformer | PooledVisionTransformer, bias: str = ""
) -> str:
    """(B, 3, h, w) pixels -> (L, B, D): PyTorch's convolution ``visual.conv1`` as a matrix product.

    Patches do not overlap, so it only moves pixels: each becomes a row in the order of the kernel.
    Pixels at the right and below that fill no patch are not seen.
    """
    (rows, columns), side = facts.grid, facts.patch_size
    if facts.image_size != (rows * side, columns * side):
        ends = graph.constant([rows * side, columns * side])
        pixels = graph.op("Slice", pixels, graph.constant([0, 0]), ends, graph.constant([2, 3]))
    shape = graph.constant([-1, 3, rows, side, columns, side])
    moved = graph.op("Transpose", graph.op("Reshape", pixels, shape), perm=[2, 4, 0, 1, 3, 5])
    flat = graph.op("Reshape", moved, graph.constant([-1, 3 * side * side]))
    layer = Projection("visual.conv1.weight", bias)
    x = graph.layers.affine(graph, flat, layer, None)
    return graph.op("Reshape", x, graph.constant([rows * columns, -1, facts.width]))
