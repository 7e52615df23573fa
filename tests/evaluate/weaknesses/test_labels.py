"""Which labels cannot be told apart, by text and on pictures."""

import msgspec
import numpy as np
import pytest
from PIL import Image

import keshin
from fake_encoders import fake, noise
from keshin.classify import make_labels
from keshin.core.pictures import find_pictures
from keshin.evaluate.weaknesses.label_pictures import Seen
from keshin.evaluate.weaknesses.labels import compare
from keshin.evaluate.weaknesses.tables import things

WORDS = ["husky", "malamute", "sofa", "cat", "猫", *things().names.objects]


def meaning(same=(), near=(), spread=0.35):
    """A text encoder: what a text names, plus something of its own wording."""

    def say(text):
        word = next(word for word in WORDS if word in text.lower())
        vector = noise(same[0] if word in same else word)
        if word in near:
            vector = 0.985 * noise(near[0]) + 0.17 * noise(word)
        return vector + spread * noise(text)

    return say


@pytest.fixture(scope="module")
def config(tiny_checkpoint):
    return msgspec.structs.replace(tiny_checkpoint.config, embed_dim=768)


def pairs_of(report):
    return {frozenset((pair.one, pair.other)): pair for pair in report.pairs}


def test_one_meaning_is_found_and_others_are_not(config):
    encoder = fake(config, meaning(same=("husky", "malamute")))
    report = compare(encoder, make_labels(["husky", "malamute", "sofa", "cat"]), None)
    found = pairs_of(report)
    assert found[frozenset(("husky", "malamute"))].verdict == "same"
    assert [pair.verdict for pair in report.pairs].count("apart") == 5
    assert report.pairs[0].verdict == "same"
    assert report.compared == 6
    assert report.verdict == "some"
    assert report.said.en == "1 of 6 pairs are not told apart."
    assert report.said.ja == "6 組のうち 1 組を区別していません。"
    assert report.control.value == 1


def test_near_labels_lie_between(config):
    encoder = fake(config, meaning(near=("husky", "malamute")))
    found = pairs_of(compare(encoder, make_labels(["husky", "malamute", "cat"]), None))
    close, far = found[frozenset(("husky", "malamute"))], found[frozenset(("husky", "cat"))]
    assert close.verdict == "near"
    assert far.verdict == "apart"
    assert close.null < close.limit < close.distance < far.distance
    assert close.cosine > far.cosine


def test_two_labels_are_enough(config):
    report = compare(fake(config, meaning()), make_labels(["husky", "cat"]), None)
    assert (report.verdict, report.compared) == ("can", 1)
    assert report.said.en == "All 1 pairs are told apart."


def test_japanese_labels_are_said_in_japanese(config):
    said = []

    def say(text):
        said.append(text)
        return meaning()(text)

    compare(fake(config, say), make_labels(["猫", "cat"]), None)
    assert "猫の写真" in said
    assert "a photo of a cat." in said
    assert not any("photo" in text and "猫" in text for text in said)


def test_words_that_mean_nothing_to_the_model_cannot_be_judged(config):
    """Whatever the label, the same text: then unrelated names are not apart either."""
    encoder = fake(config, lambda text: noise("all") + 0.3 * noise(text))
    report = compare(encoder, make_labels(["husky", "malamute"]), None)
    assert report.verdict == "unknown"
    assert "Cannot be judged" in report.said.en


def test_a_label_may_be_one_of_the_unrelated_names(config):
    report = compare(fake(config, meaning()), make_labels(["sun", "cat"]), None)
    assert (report.verdict, report.control.value) == ("can", 1)


@pytest.mark.parametrize("labels", [["husky"], [f"l{i}" for i in range(2001)]])
def test_too_few_and_too_many_labels(config, labels):
    with pytest.raises(keshin.LabelError, match="Give from 2 to 2,000"):
        compare(fake(config, meaning()), make_labels(labels), None)
    with pytest.raises(keshin.LabelError, match="no labels and no folder"):
        compare(fake(config, meaning()), None, None)


SHADES = {"husky": (250, 0, 0), "cat": (0, 250, 0), "sofa": (0, 0, 250)}


@pytest.fixture
def folder(tmp_path):
    for name, colour in SHADES.items():
        (tmp_path / name).mkdir()
        for index in range(30):
            Image.new("RGB", (8, 8), colour).save(tmp_path / name / f"{index:02}.png")
    (tmp_path / "cat" / "broken.png").write_bytes(b"\x89PNG but not really")
    return tmp_path


@pytest.fixture
def seeing(config, folder):
    """Knows each picture by its folder; a sofa looks like a husky half of the time."""
    encoder = fake(config, meaning())
    files = list(find_pictures([folder]))

    def try_images(pictures):
        good, rows, failed = [], [], []
        for place, path in enumerate(pictures):
            if path.name == "broken.png":
                failed.append(keshin.Failure(place, str(path), f"{path} is damaged."))
                continue
            word = path.parent.name
            if word == "sofa" and int(path.stem) % 2:
                word = "husky"
            good.append(place)
            rows.append(noise(word) + 0.1 * noise(str(path.name)))
        yield good, np.stack(rows).astype(np.float32), failed

    encoder.try_images = try_images
    assert len(files) == 91
    return encoder


def test_pictures_say_which_are_told_apart(seeing, folder):
    done = []
    report = compare(seeing, None, folder, progress=lambda *row: done.append(row))
    found = pairs_of(report)
    sure, half = found[frozenset(("husky", "cat"))], found[frozenset(("husky", "sofa"))]
    assert sure.accuracy.value == 1
    assert sure.seen == "can"
    assert half.accuracy.value == pytest.approx(0.75)
    assert half.accuracy.count == 60
    assert half.accuracy.low < 0.75 < half.accuracy.high
    assert half.seen == "weak"
    assert len(report.failed) == 1
    assert "On pictures, 0 pairs" in report.said.en
    assert done[-1] == ("labels", 91, 91)


def test_folders_must_be_labels(seeing, folder):
    with pytest.raises(keshin.DataError, match="a folder 'sofa' that is not among the labels"):
        compare(seeing, make_labels(["husky", "cat"]), folder)
    # a label without a folder has no accuracy, and its texts are compared
    report = compare(seeing, make_labels(["Husky", "cat", "sofa", "malamute"]), folder)
    assert pairs_of(report)[frozenset(("cat", "malamute"))].accuracy is None
    assert pairs_of(report)[frozenset(("cat", "sofa"))].accuracy.value > 0.7


def test_the_interval_of_a_pair_holds_the_truth():
    rng, held = np.random.default_rng(0), 0
    for _ in range(1000):
        recalls = np.eye(2)
        recalls[0, 1], recalls[1, 0] = rng.binomial(40, 0.9) / 40, rng.binomial(25, 0.6) / 25
        figure = Seen(recalls, np.array([40, 25]), ()).figure(0, 1)
        held += figure.low <= 0.75 <= figure.high
    assert 0.93 < held / 1000 < 0.98


def test_alike_on_pictures():
    recalls = np.array([[0, 0.5, 1], [0.5, 0, 1], [1.0, 1, 0]])
    alike = Seen(recalls, np.array([30, 30, 30]), ()).alike()
    assert alike[0, 1]
    assert not alike[0, 2]
    assert not Seen(recalls, np.array([30, 0, 30]), ()).alike()[0, 1]
