"""Probes on unit vectors, and classifiers that hold what was learnt."""

import numpy as np
import pytest
from safetensors import safe_open

import keshin
from keshin.classify import Classifier, Head, Rejection, read_classifier
from keshin.errors import LabelError
from keshin.evaluate.probes.few_shot_fit import Text
from keshin.finetune.heads import fit


def unit(values):
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def learnt():
    rng = np.random.default_rng(0)
    text = Text(unit(rng.normal(size=(3, 16))), 20.0)
    targets = np.repeat([0, 1, 2], 20)
    centres = unit(rng.normal(size=(3, 16)))  # not where the texts say
    vectors = unit(centres[targets] + 0.15 * rng.normal(size=(60, 16)))
    return vectors, targets, text


@pytest.mark.parametrize("start", ["zero", "text"])
def test_a_head_learns_and_a_classifier_gives_its_scores(learnt, start, tiny_folder, tmp_path):
    vectors, targets, text = learnt
    groups = np.arange(len(targets))
    head = fit(vectors[::2], targets[::2], 3, groups[::2], start, text)
    scores = head.scores(vectors[1::2])
    assert (scores.argmax(axis=1) == targets[1::2]).mean() > 0.9
    directions, rest = head.as_head()
    assert np.allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-5)
    model = keshin.load(tiny_folder)
    clf = Classifier(
        model.encoder, {"a": ("a",), "b": ("b",), "c": ("c",)}, ("{}",), directions,
        np.zeros((0, 16), np.float32), Rejection(), origin=model.origin, head=rest,
    )  # fmt: skip
    exponents = np.exp(scores - scores.max(axis=1, keepdims=True))
    expected = exponents / exponents.sum(axis=1, keepdims=True)
    assert np.allclose(clf.scores(vectors[1::2]), expected, atol=1e-4)
    clf.save(tmp_path / "x.classifier")
    again = keshin.load_classifier(tmp_path / "x.classifier", model)
    assert np.array_equal(again.scores(vectors), clf.scores(vectors))
    with pytest.raises(LabelError, match="learnt from pictures"):
        keshin.export(model, tmp_path / "o", format="onnx", classifier=tmp_path / "x.classifier")


def test_a_class_without_pictures_is_the_texts_answer_or_none(learnt):
    vectors, targets, text = learnt
    rows = targets != 2
    groups = np.arange(len(targets))
    linear = fit(vectors[rows], targets[rows], 3, groups[rows], "zero", text)
    assert set(linear.scores(vectors).argmax(axis=1)) == {0, 1}
    started = fit(vectors[rows], targets[rows], 3, groups[rows], "text", text)
    assert np.allclose(started.scores(text.weights).argmax(axis=1)[2], 2)


def test_zero_shot_classifiers_are_written_as_before(tiny_folder, tmp_path):
    model = keshin.load(tiny_folder)
    model.classifier(["cat", "dog"]).save(tmp_path / "plain")
    assert read_classifier(tmp_path / "plain").facts.format == 1
    clf = model.classifier(["cat", "dog"])
    object.__setattr__(clf, "head", Head(np.ones(2, np.float32), np.zeros(2, np.float32)))
    clf.save(tmp_path / "learnt")
    with safe_open(tmp_path / "learnt", framework="numpy") as file:
        assert set(file.keys()) == {"weights", "background", "scales", "offsets"}
    object.__setattr__(clf, "head", Head(np.ones(3, np.float32), np.zeros(2, np.float32)))
    clf.save(tmp_path / "wrong")
    with pytest.raises(LabelError, match="contradicts itself"):
        read_classifier(tmp_path / "wrong")
