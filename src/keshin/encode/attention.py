"""Transformers as ONNX graphs: attention of all tokens or of one, and pre-norm blocks.

A stream of tokens is two-dimensional, one row a token, and becomes (length, batch, width) or
(batch, length, width) where tokens meet: a ``Stream`` says how its rows lie. With the length first,
runtimes read the heads where they lie, without copies. Shape letters as in ``blocks.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from keshin.core.config import BlockFacts, TextTransformer, VisionTransformer
from keshin.encode.blocks import (
    ACTIVATION_FLOOR,
    ACTIVATIONS,
    Graph,
    Projection,
    layer_norm,
    linear,
)


@dataclass(frozen=True)
class Tree:
    """Tokens that lie as nodes of a prefix tree (encode/prefix_tree.py): graph inputs."""

    keys: str
    """(K, G) nodes that each of G chunks of C nodes sees."""
    chunk: str
    """(1,) C."""
    paths: str
    """(B, L) nodes of each text."""


@dataclass(frozen=True)
class Stream:
    """How the rows of a stream of tokens lie, and what each token sees."""

    length: str
    """(1,) L; in a tree, of the longest text."""
    mask: str | None = None
    """Added to the scores (B, H, L, L)."""
    length_first: bool = False
    """Whether row l B + b is token l of picture b, instead of row b L + l."""
    tree: Tree | None = None

    def tokens(self, graph: Graph, x: str, width: int) -> str:
        """(rows, D) -> (B, L, D), or (L, B, D) with the length first."""
        if self.tree is not None:
            return graph.op("Gather", x, self.tree.paths, axis=0)
        return graph.op("Reshape", x, self._shape(graph, width))

    def queries(self, graph: Graph, x: str, heads: int, size: int) -> str:
        """(rows, D) -> (B, H, L, d); chunks of a tree are its B."""
        if self.tree is not None:
            shape = (graph.constant([-1]), self.tree.chunk, graph.constant([heads, size]))
            split = graph.op("Reshape", x, graph.op("Concat", *shape, axis=0))
            return graph.op("Transpose", split, perm=[0, 2, 1, 3])
        split = graph.op("Reshape", x, self._shape(graph, heads, size))
        return graph.op(
            "Transpose", split, perm=[1, 2, 0, 3] if self.length_first else [0, 2, 1, 3]
        )

    def seen(self, graph: Graph, x: str, heads: int, size: int, turned: bool) -> str:
        """Keys or values, (rows, D) -> (B, H, L, d), or turned (B, H, d, L)."""
        if self.tree is not None:
            seen = graph.op("Gather", x, self.tree.keys, axis=0)  # (K, G, D)
            split = graph.op("Reshape", seen, graph.constant([0, 0, heads, size]))
        else:
            split = graph.op("Reshape", x, self._shape(graph, heads, size))
        first = self.length_first or self.tree is not None
        batch, length = (1, 0) if first else (0, 1)
        perm = [batch, 2, 3, length] if turned else [batch, 2, length, 3]
        return graph.op("Transpose", split, perm=perm)

    def rows(self, graph: Graph, mixed: str, width: int) -> str:
        """(B, H, L, d) -> (rows, D)."""
        mixed = graph.op(
            "Transpose", mixed, perm=[2, 0, 1, 3] if self.length_first else [0, 2, 1, 3]
        )
        return graph.op("Reshape", mixed, graph.constant([-1, width]))

    def _shape(self, graph: Graph, *rest: int) -> str:
        batch = graph.constant([-1])
        outer = (self.length, batch) if self.length_first else (batch, self.length)
        return graph.op("Concat", *outer, graph.constant(rest), axis=0)


def projections(name: str, width: int) -> tuple[Projection, Projection, Projection]:
    """Those of queries, keys and values, which PyTorch's attention called ``name`` packs.

    The keys' bias adds the same to all scores of a query, so softmax does not see it: left out.
    """
    weight, bias = f"{name}.in_proj_weight", f"{name}.in_proj_bias"
    q, k, v = (
        Projection(weight, each, (i * width, (i + 1) * width))
        for i, each in enumerate((bias, "", bias))
    )
    return q, k, v


def attention(graph: Graph, x: str, name: str, heads: int, stream: Stream) -> str:
    """Self-attention of every token: (rows, D) -> (rows, D)."""
    width = graph.tensors.infos[f"{name}.out_proj.weight"].shape[0]
    size = width // heads
    q, k, v = (graph.layers.affine(graph, x, part, None) for part in projections(name, width))
    scores = graph.op(
        "MatMul",
        stream.queries(graph, q, heads, size),
        stream.seen(graph, k, heads, size, turned=True),
    )
    scores = graph.op("Mul", scores, graph.constant(size**-0.5))
    if stream.mask is not None:
        scores = graph.op("Add", scores, stream.mask)
    values = stream.seen(graph, v, heads, size, turned=False)
    mixed = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), values)
    return linear(graph, stream.rows(graph, mixed, width), f"{name}.out_proj")


def single_query_attention(
    graph: Graph,
    query: str,
    tokens: str,
    parts: tuple[Projection, Projection, Projection],
    heads: int,
    mask: str | None,
    length_first: bool = False,
) -> str:
    """Attention of one query (B, D) to its tokens (B, L, D), before the output projection.

    With the length first the tokens are (L, B, D).

    ``q . (K x) = (q K) . x`` and ``sum p (V x) = V (sum p x)``: keys and values of the tokens are
    never made, which saves almost all of the work. The keys' bias adds the same to every score of
    a head, so softmax does not see it.
    """
    q, k, v = parts
    width = graph.tensors.infos[q.weight].shape[1]
    split = [heads, width // heads, width]
    bias = graph.weight(q.bias, rows=q.rows)
    row = graph.op("Gemm", query, graph.weight(q.weight, rows=q.rows), bias, transB=1)
    row = graph.op("Reshape", row, graph.constant([-1, heads, width // heads]))
    row = graph.op("Mul", row, graph.constant((width // heads) ** -0.5))
    by_head = graph.op("Transpose", row, perm=[1, 0, 2])  # (H, B, d)
    keyed = graph.op("MatMul", by_head, graph.weight(k.weight, split, k.rows))  # (H, B, D)
    keyed = graph.op("Transpose", keyed, perm=[1, 0, 2])
    turned = graph.op("Transpose", tokens, perm=[1, 2, 0] if length_first else [0, 2, 1])
    scores = graph.op("MatMul", keyed, turned)  # (B, H, L)
    if mask is not None:
        scores = graph.op("Add", scores, mask)
    if length_first:
        tokens = graph.op("Transpose", tokens, perm=[1, 0, 2])
    mixed = graph.op("MatMul", graph.op("Softmax", scores, axis=-1), tokens)  # (B, H, D)
    mixed = graph.op("Transpose", mixed, perm=[1, 2, 0])  # (H, D, B)
    mixed = graph.op("MatMul", graph.weight(v.weight, split, v.rows), mixed)  # (H, d, B)
    mixed = graph.op("Transpose", mixed, perm=[2, 0, 1])
    mixed = graph.op("Reshape", mixed, graph.constant([-1, width]))
    return graph.op("Add", mixed, graph.weight(v.bias, rows=v.rows))


@dataclass(frozen=True)
class Readout:
    """Which token of a stream stands for the whole, for the last block."""

    pick: Callable[[str], str]
    """The tokens of the stream -> (B, D)."""
    mask: str | None
    """Added to the scores (B, H, L) of the token that is picked."""


def transformer(
    graph: Graph,
    x: str,
    prefix: str,
    facts: VisionTransformer | TextTransformer,
    stream: Stream,
    readout: Readout,
) -> str:
    """Pre-norm blocks: (rows, D) -> (B, D). The last one computes only the token that is read."""
    for index in range(facts.layers - 1):
        x = pre_norm_block(graph, x, f"{prefix}transformer.resblocks.{index}", facts, stream)
    name = f"{prefix}transformer.resblocks.{facts.layers - 1}"
    tokens = stream.tokens(graph, x, facts.width)
    normed = layer_norm(graph, tokens, f"{name}.ln_1", facts.layer_norm_eps)
    mixed = single_query_attention(
        graph,
        readout.pick(normed),
        normed,
        projections(f"{name}.attn", facts.width),
        facts.heads,
        readout.mask,
        stream.length_first,
    )
    mixed = linear(graph, mixed, f"{name}.attn.out_proj")
    return pre_norm_mlp(graph, graph.op("Add", readout.pick(tokens), mixed), name, facts)


def pre_norm_block(graph: Graph, x: str, name: str, facts: BlockFacts, stream: Stream) -> str:
    """A whole block: (rows, D) -> (rows, D)."""
    normed = graph.layers.norm(graph, x, f"{name}.ln_1", facts.layer_norm_eps)
    mixed = attention(graph, normed, f"{name}.attn", facts.heads, stream)
    return pre_norm_mlp(graph, graph.op("Add", x, mixed), name, facts)


def pre_norm_mlp(graph: Graph, x: str, name: str, facts: BlockFacts) -> str:
    """The second half of a block: ``x + mlp(ln_2(x))``, (n, D) -> (n, D)."""
    normed = graph.layers.norm(graph, x, f"{name}.ln_2", facts.layer_norm_eps)
    inner = ACTIVATIONS[facts.activation](graph, linear(graph, normed, f"{name}.mlp.c_fc"))
    return graph.op("Add", x, linear(graph, inner, f"{name}.mlp.c_proj", ACTIVATION_FLOOR))
