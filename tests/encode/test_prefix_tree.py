"""A beginning that texts share is computed once, and no vector is another for it."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from keshin.core.checkpoint import Checkpoint
from keshin.encode import texts as module
from keshin.encode.encoder import Encoder
from keshin.encode.graph_tree import text_tree_graph
from keshin.encode.prefix_tree import CHUNK, prefix_trees
from keshin.encode.runtime import OnnxTowers
from keshin.facts import prompts

TOLERANCE = 1e-5


class Plain:
    """The towers without prefix trees."""

    def __init__(self, towers):
        self.text_features = towers.text_features


def encoder(checkpoint, towers=None):
    towers = towers or OnnxTowers(checkpoint, threads=1)
    return Encoder(checkpoint.config, checkpoint.tokenizer(), towers, 10.0)


@pytest.fixture(scope="module")
def both(tiny_checkpoint):
    shared = encoder(tiny_checkpoint)
    return shared, encoder(tiny_checkpoint, Plain(shared.towers))


# --- the tree ------------------------------------------------------------------------------------


def padded(rows):
    ids = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for target, row in zip(ids, rows, strict=True):
        target[: len(row)] = row
    return ids


def prefixes(rows):
    return {tuple(row[: n + 1]) for row in rows for n in range(len(row))}


rows_of_ids = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=9).map(tuple), min_size=1, max_size=70
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows_of_ids, st.integers(1, 400))
def test_every_prefix_is_one_node_and_sees_its_own_beginnings(rows, budget):
    lengths = np.array([len(row) for row in rows])
    found = []
    for of_rows, which, tree in prefix_trees(padded(rows), lengths, lengths - 1, budget):
        paths = [tuple(tree.ids[nodes]) for nodes in tree.paths]
        texts = [path[: place + 1] for path, place in zip(paths, tree.places, strict=True)]
        assert [texts[index] for index in which] == [rows[row] for row in of_rows]
        assert len(set(texts)) == len(texts)
        known = {}
        for text, nodes in zip(texts, tree.paths, strict=True):
            for place, node in enumerate(nodes[: len(text)]):
                known[int(node)] = text[: place + 1]
                assert tree.positions[node] == place
        assert sorted(known.values()) == sorted(prefixes(texts))  # each once
        count = len(known)
        assert count <= max(budget, max(map(len, texts)))
        chunk = min(CHUNK, count)
        assert tree.size - count < chunk
        for node, seen in enumerate(tree.mask[:, 0].reshape(tree.size, -1)):
            visible = tree.keys[node // chunk][seen == 0]
            if node in known:
                own = known[node]
                ancestors = [own[: n + 1] for n in range(len(own))]
                assert sorted(known[int(key)] for key in visible) == ancestors
            else:
                assert visible.tolist() == [node]
        found.extend(of_rows.tolist())
    assert sorted(found) == list(range(len(rows)))


def test_no_text_no_tree():
    empty = np.zeros(0, np.int64)
    assert list(prefix_trees(np.zeros((0, 5), np.int64), empty, empty, 10)) == []


def test_a_classifier_of_imagenet_computes_under_half_of_its_tokens():
    from keshin.core.tokenizer import Tokenizer

    names = [said[0] for said in prompts.class_names("imagenet")[::10]]
    texts = [t.replace("{}", name) for name in names for t in prompts.templates("imagenet")]
    tokens = Tokenizer.clip()(texts)
    trees = list(prefix_trees(tokens.ids, tokens.lengths, tokens.ends, module.TOKENS_AT_ONCE))
    nodes = sum(tree.size for _, _, tree in trees)
    assert nodes < 0.5 * tokens.lengths.sum()  # 4.57 of 9.6 a prompt
    assert nodes < 77 * len(texts) / 16


# --- the graph -----------------------------------------------------------------------------------

WORDS = ["a", "photo", "of", "the", "red", "cat", "猫", "の写真", "dog.", "<|endoftext|>", "é", "!"]
some_text = st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)  # up to 40 > 24 tokens


@settings(max_examples=40, deadline=None)
@given(st.lists(some_text, max_size=30), st.sampled_from([8, 100, 1024]))
def test_shared_beginnings_change_no_vector(both, texts, budget):
    shared, plain = both
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TOKENS_AT_ONCE", budget)
        found, expected = shared.encode_texts(texts), plain.encode_texts(texts)
    assert found.shape == expected.shape == (len(texts), 16)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_templates_in_two_languages(both):
    shared, plain = both
    templates = [*prompts.templates("imagenet")[:20], *prompts.templates("ja")]
    names = ["cat", "dog", "red bird", "猫", "鳥", "cat"]
    texts = [template.replace("{}", name) for name in names for template in templates]
    np.testing.assert_allclose(
        shared.encode_texts(texts), plain.encode_texts(texts), atol=TOLERANCE
    )


@pytest.mark.parametrize("pool", ["end-of-text", "last", "first"])
def test_every_pooling_of_a_causal_tower(tiny_checkpoint, pool):
    config = tiny_checkpoint.config
    config = replace(config, text=replace(config.text, pool=pool))
    checkpoint = Checkpoint(tiny_checkpoint.directory, config, tiny_checkpoint.tensors)
    towers = OnnxTowers(checkpoint, threads=1)
    texts = ["a photo of a cat.", "a photo of a dog and a bird", "猫の写真", "a photo of a cat", ""]
    found = encoder(checkpoint, towers).encode_texts(texts)
    expected = encoder(checkpoint, Plain(towers)).encode_texts(texts)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_a_tower_that_looks_ahead_shares_nothing(tiny_checkpoint):
    config = tiny_checkpoint.config
    config = replace(config, text=replace(config.text, causal=False))
    checkpoint = Checkpoint(tiny_checkpoint.directory, config, tiny_checkpoint.tensors)
    with pytest.raises(TypeError, match="causal"):
        text_tree_graph(config, checkpoint.tensors)
    towers = OnnxTowers(checkpoint, threads=1)
    found = encoder(checkpoint, towers).encode_texts(["a cat", "a photo of a cat"])
    expected = encoder(checkpoint, Plain(towers)).encode_texts(["a cat", "a photo of a cat"])
    np.testing.assert_array_equal(found, expected)
    assert "_trees" not in vars(towers)


# --- lists of any length -------------------------------------------------------------------------


def test_batches_without_a_tree_are_sized_by_tokens(tiny_checkpoint, monkeypatch):
    towers, shapes = OnnxTowers(tiny_checkpoint, threads=1), []

    class Watched:
        def text_features(self, ids, ends):
            shapes.append(ids.shape)
            return towers.text_features(ids, ends)

    monkeypatch.setattr(module, "TOKENS_AT_ONCE", 40)
    texts = ["cat"] * 30 + ["a photo of a red cat and a dog"] * 3 + ["dog " * 30]
    encoder(tiny_checkpoint, Watched()).encode_texts(texts)
    assert sum(rows for rows, _ in shapes) == len(texts)
    assert all(rows * length <= 40 for rows, length in shapes)
    lengths = [length for _, length in shapes]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1] == tiny_checkpoint.config.text.context_length


def test_blocks_of_a_long_list_keep_the_places(both, monkeypatch):
    shared, _ = both
    texts = ["a cat", "red " * 30, "a dog", "a cat", "blue " * 30, "a bird"]
    whole = shared.encode_texts(texts)
    monkeypatch.setattr("keshin.encode.encoder.TEXTS_AT_ONCE", 2)
    seen = []
    monkeypatch.setattr(shared, "on_truncation", seen.append)
    np.testing.assert_allclose(shared.encode_texts(texts), whole, atol=TOLERANCE)
    assert [(cut.index, cut.text) for cut in seen] == [(1, texts[1]), (4, texts[4])]
