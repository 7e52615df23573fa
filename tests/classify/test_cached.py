"""Class weights are found again for the same labels and model, and for nothing else."""

import os

import numpy as np
import pytest

from keshin.classify import build_classifier
from keshin.classify.cached import key_of
from keshin.core.checkpoint import load_checkpoint, save_checkpoint
from keshin.encode.runtime import onnx_encoder
from keshin.errors import CheckpointError

LABELS = {"cat": ["kitten"], "dog": [], "猫 " + "long " * 30: []}
ASKED = {"templates": ["a photo of a {}.", "{}"], "reject": "background"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KESHIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("keshin.core.cache.SETTLED", -1.0)
    return tmp_path / "cache" / "classifiers"


def build(checkpoint, labels=LABELS, **changes):
    encoder = onnx_encoder(checkpoint, threads=1)
    return build_classifier(encoder, labels, **{**ASKED, **changes})


def used(classifier):
    """What the encoder had to make."""
    encoder = classifier.encoder
    made = set(vars(encoder.towers)) & {"_texts", "_trees"}
    return made | {"tokenizer"} if "backend" in vars(encoder.tokenizer) else made


def test_the_second_time_neither_tower_nor_tokenizer_is_made(tiny_checkpoint, folder):
    first, second = build(tiny_checkpoint), build(tiny_checkpoint)
    assert used(first) == {"_trees", "tokenizer"}
    assert used(second) == set()
    np.testing.assert_array_equal(second.weights_, first.weights_)
    np.testing.assert_array_equal(second.background_, first.background_)
    assert second.warnings == first.warnings != ()
    assert second.names == first.names
    assert second.templates == first.templates
    assert len(list(folder.iterdir())) == 1
    image = np.zeros((20, 20, 3), np.uint8)
    np.testing.assert_array_equal(second.cosines([image]), first.cosines([image]))


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": {"cat": [], "dog": [], "bird": []}},
        {"labels": dict(reversed(LABELS.items()))},
        {"labels": LABELS | {"dog": ["hound"]}},
        {"templates": None},
        {"templates": ["{}", "a photo of a {}."]},
        {"reject": None},
    ],
)
def test_another_question_is_computed(tiny_checkpoint, changes):
    build(tiny_checkpoint)
    assert "_trees" in used(build(tiny_checkpoint, **changes))


def test_without_cache_nothing_is_kept(tiny_checkpoint, folder):
    build(tiny_checkpoint, cache=False)
    assert not folder.exists()


def test_another_model_is_computed(tiny_checkpoint, tmp_path):
    own = tmp_path / "model"
    tensors = {n: tiny_checkpoint.tensors.read_float32(n) for n in tiny_checkpoint.tensors.infos}
    config, tokenizer = tiny_checkpoint.config, tiny_checkpoint.tokenizer()
    save_checkpoint(own, config, tensors, tokenizer)
    first = build(load_checkpoint(own))
    assert used(build(load_checkpoint(own))) == set()
    changed = tensors | {"text_projection": -tensors["text_projection"]}
    loaded = onnx_encoder(load_checkpoint(own), threads=1)  # opened before the change
    save_checkpoint(own, config, changed, tokenizer)
    assert loaded.mark == ""  # what runs may be either
    second = build(load_checkpoint(own))
    np.testing.assert_allclose(second.weights_, -first.weights_, atol=1e-5)


def test_mode_and_version_are_part_of_the_key(tiny_checkpoint, monkeypatch):
    from dataclasses import replace

    from keshin.classify import make_labels

    encoder = onnx_encoder(tiny_checkpoint, threads=1)
    labels = make_labels(["cat", "dog"])
    keys = {
        key_of(encoder, labels, None, ()),
        key_of(replace(encoder, mode="int8"), labels, None, ()),
    }
    monkeypatch.setattr("keshin.classify.cached.__version__", "99")
    keys.add(key_of(encoder, labels, None, ()))
    assert len(keys - {""}) == 3
    assert key_of(replace(encoder, recognise=str), labels, None, ()) == ""


@pytest.mark.parametrize("damage", [b"", b"short", bytes(4000)])
def test_a_damaged_entry_is_made_anew(tiny_checkpoint, folder, damage):
    first = build(tiny_checkpoint)
    (entry,) = folder.iterdir()
    entry.write_bytes(damage)
    second = build(tiny_checkpoint)
    assert "_trees" in used(second)
    np.testing.assert_allclose(second.weights_, first.weights_, atol=1e-6)
    assert used(build(tiny_checkpoint)) == set()


def test_an_entry_under_a_wrong_name_is_not_taken(tiny_checkpoint, folder):
    build(tiny_checkpoint)
    (entry,) = folder.iterdir()
    build(tiny_checkpoint, {"cat": ["kitten"], "dog": [], "bird": []})
    (other,) = set(folder.iterdir()) - {entry}
    os.replace(other, entry)  # noqa: PTH105
    assert "_trees" in used(build(tiny_checkpoint))


def test_a_cache_that_is_a_file_is_done_without(tiny_checkpoint, tmp_path, monkeypatch):
    (tmp_path / "blocked").write_text("")
    monkeypatch.setenv("KESHIN_CACHE", str(tmp_path / "blocked"))
    assert build(tiny_checkpoint).weights_.shape == (3, 16)


def test_a_broken_tokenizer_is_reported_with_the_first_text(tiny_checkpoint, tmp_path):
    own = tmp_path / "model"
    tensors = {n: tiny_checkpoint.tensors.read_float32(n) for n in tiny_checkpoint.tensors.infos}
    save_checkpoint(own, tiny_checkpoint.config, tensors, tiny_checkpoint.tokenizer())
    (own / "tokenizer.json").write_text("{}")
    encoder = onnx_encoder(load_checkpoint(own), threads=1)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        encoder.encode_texts(["a cat"])
