"""Weights, scores, rejection, warnings: on a model whose vectors are known by hand."""

import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
from msgspec.structs import replace as replace_in
from PIL import Image

import keshin
from keshin.classify import Rejection, build_classifier, make_labels, read_classifier
from keshin.classify.checks import near_duplicate_distance, toggle_full_stop, unknown_script
from keshin.classify.weights import class_weights
from keshin.core.config import ScoreFacts
from keshin.core.pictures import Failure
from keshin.core.tokenizer import Tokenizer
from keshin.encode.encoder import Encoder
from keshin.errors import CheckpointError, LabelError, PictureError

D = 16
AXES = {"red": 0, "crimson": 0, "green": 1, "blue": 2}


def word_vector(word):
    """Colours have an axis each; any other word a small vector of its own off these axes."""
    if word in AXES:
        return np.eye(D)[AXES[word]]
    generator = np.random.default_rng(zlib.crc32(word.encode()))
    vector = np.concatenate([np.zeros(3), generator.normal(size=D - 3)])
    size = 0.01 if word in {".", "。"} else 0.1
    return size * vector / np.linalg.norm(vector)


class WordTowers:
    """A picture is its mean colour, a text the sum of its words."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.texts = []

    def image_features(self, pixels):
        colours = (pixels * 0.25 + 0.5).mean(axis=(2, 3))
        return np.pad(colours, ((0, 0), (0, D - 3))).astype(np.float32)

    def text_features(self, ids, ends):
        texts = [self.tokenizer.decode(row) for row in ids]
        self.texts += texts
        return np.stack([sum(map(word_vector, text.split())) for text in texts]).astype(np.float32)


@pytest.fixture
def encoder(tiny_checkpoint):
    tokenizer = tiny_checkpoint.tokenizer()
    return Encoder(
        config=tiny_checkpoint.config,
        tokenizer=tokenizer,
        towers=WordTowers(tokenizer),
        logit_scale=20.0,
        batch_size=4,
        identify=lambda: "f" * 64,
    )


def solid(*colour):
    return np.full((20, 20, 3), colour, np.uint8)


RED, GREEN, BLUE = solid(250, 5, 5), solid(5, 250, 5), solid(5, 5, 250)


def unit(vector):
    return np.asarray(vector) / np.linalg.norm(vector)


# --- weights -------------------------------------------------------------------------------------


def test_weights_are_the_formula(encoder):
    templates = ["a photo of a {}.", "a drawing of {}", "{}"]
    made = build_classifier(
        encoder, ["red", "green"], templates=templates, aliases={"red": ["crimson", "red drawing"]}
    )
    names = {"red": ["red", "crimson", "red drawing"], "green": ["green"]}
    for row, label in enumerate(["red", "green"]):
        ensembles = []
        for name in names[label]:
            vectors = encoder.encode_texts([t.replace("{}", name) for t in templates])
            ensembles.append(unit(vectors.astype(np.float64).mean(axis=0)))
        np.testing.assert_allclose(made.weights_[row], unit(np.mean(ensembles, axis=0)), atol=1e-6)
    assert made.templates == tuple(templates)
    assert made.aliases == {"red": ("crimson", "red drawing")}
    assert made.names["red"] == ("red", "crimson", "red drawing")
    np.testing.assert_allclose(np.linalg.norm(made.weights_, axis=1), 1, rtol=1e-6)


def test_blocks_and_repeated_prompts_change_nothing(encoder, monkeypatch):
    names = {f"red {i}": (f"red {i}", "red") for i in range(30)}
    whole = class_weights(encoder, names, ("a {}.", "{}"))
    count = len(encoder.towers.texts)
    assert count == 2 * 31  # "red" is said by all, and encoded once
    monkeypatch.setattr("keshin.classify.weights.PROMPTS_AT_ONCE", 8)
    np.testing.assert_allclose(class_weights(encoder, names, ("a {}.", "{}")), whole, atol=1e-6)


def test_broken_text_tower_is_an_error(encoder):
    encoder.towers.text_features = lambda ids, ends: np.full((len(ids), D), np.nan, np.float32)
    with pytest.raises(LabelError, match="not finite"):
        build_classifier(encoder, ["red", "green"])


# --- answers -------------------------------------------------------------------------------------


def test_predict_scores_and_cosines(encoder):
    made = build_classifier(encoder, ["red", "green", "blue"], templates="{}")
    pictures = [BLUE, RED, GREEN, RED]
    assert made.predict(pictures).tolist() == ["blue", "red", "green", "red"]
    cosines, scores = made.cosines(pictures), made.predict_proba(pictures)
    assert cosines.shape == scores.shape == (4, 3)
    assert cosines.dtype == scores.dtype == np.float32
    exponents = np.exp(20 * cosines.astype(np.float64))
    np.testing.assert_allclose(scores, exponents / exponents.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(made.scores(encoder.encode_images(pictures)), scores)
    assert made.classes_.tolist() == ["red", "green", "blue"]


def test_sigmoid_models_score_each_label_alone(encoder):
    config = encoder.config.__class__(
        **{name: getattr(encoder.config, name) for name in encoder.config.__struct_fields__}
        | {"score": ScoreFacts(kind="sigmoid")}
    )
    sigmoid = replace(encoder, config=config, logit_bias=-10.0, logit_scale=1000.0)
    made = build_classifier(sigmoid, ["red", "green"], templates="{}")
    expected = 1 / (1 + np.exp(-np.clip(1000 * made.cosines([RED]) - 10.0, -700, 700)))
    np.testing.assert_allclose(made.predict_proba([RED]), expected, atol=1e-6)
    assert np.isfinite(made.predict_proba([RED])).all()


def test_large_scale_does_not_overflow(encoder):
    made = build_classifier(replace(encoder, logit_scale=1e6), ["red", "green"], templates="{}")
    scores = made.predict_proba([RED])
    assert np.isfinite(scores).all()
    assert scores[0, 0] == 1


def test_no_pictures(encoder):
    made = build_classifier(encoder, ["red", "green"])
    assert made.predict([]).shape == (0,)
    assert made.predict_proba([]).shape == (0, 2)
    assert list(made.results([])) == []


@pytest.mark.parametrize("single", ["x.jpg", b"bytes", RED, Image.fromarray(RED)])
def test_a_single_picture_is_not_a_list(encoder, single):
    made = build_classifier(encoder, ["red", "green"])
    with pytest.raises(TypeError, match=r"Pass \[picture\]"):
        made.predict(single)


def test_results_keep_order_beside_bad_pictures(encoder, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    made = build_classifier(encoder, ["red", "green", "blue"], templates="{}")
    pictures = [RED, bad, GREEN, BLUE, bad, RED, RED, GREEN, bad]
    results = list(made.results(pictures, top=2))
    assert [r.index for r in results] == list(range(9))
    labels = [None if isinstance(r, Failure) else r.label for r in results]
    assert labels == ["red", None, "green", "blue", None, "red", "red", "green", None]
    alone = next(made.results([RED], top=2))
    assert results[0] == alone == replace(results[5], index=0)
    assert alone.answers[0].label == "red"
    assert len(alone.answers) == 2
    assert alone.answers[0].score >= alone.answers[1].score
    assert "empty" in results[1].error
    with pytest.raises(PictureError):
        made.predict(pictures)


@pytest.mark.parametrize("top", [1, 2, 3])
def test_top_is_the_beginning_of_all(encoder, top):
    made = build_classifier(encoder, ["red", "green", "blue"], templates="{}")
    pictures = [solid(*colour) for colour in np.random.default_rng(0).integers(1, 256, (9, 3))]
    for short, full in zip(made.results(pictures, top=top), made.results(pictures), strict=True):
        assert short.answers == full.answers[:top]
        values = [a.cosine for a in full.answers]
        assert values == sorted(values, reverse=True)


# --- rejection -----------------------------------------------------------------------------------


GREY = solid(128, 128, 128)


def test_reject_by_score_and_cosine(encoder):
    labels = ["red", "green", "blue"]
    by_score = build_classifier(encoder, labels, templates="{}", reject=0.5)
    assert by_score.predict([RED, GREY]).tolist() == ["red", "none of these"]
    by_cosine = build_classifier(
        encoder, labels, templates="{}", reject=Rejection(cosine=0.9, label="?")
    )
    assert by_cosine.predict([RED, GREY]).tolist() == ["red", "?"]
    named = build_classifier(encoder, labels, templates="{}", reject=0.5, reject_label="other")
    assert named.predict([GREY]).tolist() == ["other"]
    # the scores are the same with and without
    plain = build_classifier(encoder, labels, templates="{}")
    np.testing.assert_array_equal(plain.predict_proba([GREY]), named.predict_proba([GREY]))
    result = next(named.results([GREY]))
    assert result.rejected
    assert result.label == "other"
    assert {a.label for a in result.answers} == set(labels)


def test_reject_by_background(encoder):
    rejection = Rejection(background=("blue", "a photo."))
    made = build_classifier(encoder, ["red", "green"], templates="{}", reject=rejection)
    assert made.background_.shape == (2, D)
    assert made.predict([RED, BLUE]).tolist() == ["red", "none of these"]
    shipped = build_classifier(encoder, ["red", "green"], reject="background")
    assert len(shipped.background_) == len(keshin.facts.prompts.background()) > 8


@pytest.mark.parametrize("reject", [1.5, -0.1, float("nan"), "sometimes"])
def test_senseless_rejections(encoder, reject):
    with pytest.raises(LabelError):
        build_classifier(encoder, ["red"], reject=reject)


# --- warnings ------------------------------------------------------------------------------------


def kinds(made):
    return [warning.kind for warning in made.warnings]


def test_no_warning_for_plain_labels(encoder):
    assert build_classifier(encoder, ["red", "green", "blue"]).warnings == ()


def test_labels_that_no_picture_can_tell_apart(encoder):
    """scale * |w_a - w_b| < ln 2: the bound holds for any picture."""
    made = build_classifier(encoder, ["red", "green", "crimson", "blue"])
    assert kinds(made) == ["similar"]
    assert made.warnings[0].labels == ("red", "crimson")
    assert "no picture can score one more than twice" in str(made.warnings[0])
    pictures = np.random.default_rng(0).normal(size=(1000, D)).astype(np.float32)
    scores = made.scores(pictures / np.linalg.norm(pictures, axis=1, keepdims=True))
    ratio = scores[:, 0] / scores[:, 2]
    assert max(ratio.max(), 1 / ratio.min()) < 2


def test_labels_nearer_than_a_full_stop(encoder, monkeypatch):
    sharp = replace(encoder, logit_scale=1000.0)  # a picture could tell "red" from "red drawing"
    labels = ["red", "green", "red drawing", "blue"]
    assert build_classifier(sharp, labels).warnings == ()
    monkeypatch.setitem(AXES, ".", 5)  # a full stop that the model notices
    made = build_classifier(sharp, labels)
    assert [warning.labels for warning in made.warnings] == [("red", "red drawing")]
    assert "less than it notices a full stop" in str(made.warnings[0])


def test_limit_is_what_a_full_stop_does(encoder):
    labels = make_labels(["red", "green", "blue"])
    weights = class_weights(encoder, labels.names, None)
    toggled = encoder.encode_texts([f"a photo of a {name}" for name in labels.names])
    expected = np.median(1 - np.sum(weights * toggled, axis=1))
    assert near_duplicate_distance(encoder, labels, None, weights) == pytest.approx(expected)
    # where "red" without its full stop is taken for "green", a full stop is no small thing
    shifted = np.concatenate([weights[:1] + 0.5, unit(toggled[0])[None], weights[2:]])
    assert near_duplicate_distance(encoder, labels, None, shifted) == 0
    assert toggle_full_stop("a cat.") == "a cat"
    assert toggle_full_stop("a cat") == "a cat."
    assert toggle_full_stop("猫の写真") == "猫の写真。"


def test_the_same_label_twice(encoder):
    made = build_classifier(encoder, ["red", "Green", "red", "green"])
    assert made.classes_.tolist() == ["red", "Green", "green"]
    assert kinds(made) == ["repeated", "repeated"]
    assert made.warnings[0].labels == ("red",)
    assert made.warnings[1].labels == ("Green", "green")
    shared = build_classifier(encoder, {"red": ["crimson"], "blue": ["crimson"]})
    assert "repeated" in kinds(shared)


def test_truncated_labels(encoder):
    long = "red " * 40
    made = build_classifier(encoder, [long, "green"])
    assert kinds(made) == ["truncated"]
    assert made.warnings[0].labels == (long.strip(),)
    assert "its end is not seen" in str(made.warnings[0])
    several = build_classifier(encoder, [long, "green"], templates=["a photo of a {}.", "{}"])
    assert "the end of 2 of its 2 prompts" in str(several.warnings[0])
    seen = []
    encoder.on_truncation = seen.append
    build_classifier(encoder, [long, "green"])
    assert seen == []  # reported once, as data


def test_unknown_script(encoder):
    made = build_classifier(encoder, ["red", "κόκκινο"])
    assert kinds(made) == ["unknown-script"]
    assert made.warnings[0].labels == ("κόκκινο",)
    assert "Greek" in str(made.warnings[0])


def test_a_sign_among_known_words_is_unknown_all_the_same(encoder):
    made = build_classifier(encoder, ["red of κόκκινο", "green"])
    assert "unknown-script" in kinds(made)


def test_scripts_are_reported_apart_with_a_model_that_reads_them():
    english = Encoder(
        config=replace_in(keshin.load("mini").config, name="english"),
        tokenizer=Tokenizer.clip(),
        towers=None,
        logit_scale=20.0,
    )
    labels = make_labels({"cat": [], "neko": ["ねこ"], "猫": [], "кот": [], "café": []})
    found = list(unknown_script(english, labels))
    assert [warning.labels for warning in found] == [("neko",), ("猫",), ("кот",)]
    assert "Japanese" in str(found[0])
    assert "mini" in str(found[0])
    assert "mini" in str(found[1])
    assert "mini" not in str(found[2])


def test_one_label(encoder):
    assert kinds(build_classifier(encoder, ["red"])) == ["single"]
    assert kinds(build_classifier(encoder, ["red"], reject="background")) == []


def test_a_label_without_tokens_is_an_error(encoder):
    with pytest.raises(LabelError, match="empty to the tokenizer"):
        build_classifier(encoder, ["red", "\u0345"])


# --- saved ---------------------------------------------------------------------------------------


def test_save_and_load(encoder, tmp_path):
    path = tmp_path / "colours.classifier"
    made = build_classifier(
        encoder,
        {"red": ["crimson"], "緑": []},
        templates=["a {}.", "{}"],
        reject=Rejection(score=0.4, background=("a photo.",), label="?"),
        origin="somewhere",
    )
    made.save(path)
    again = read_classifier(path).join(encoder)
    np.testing.assert_array_equal(again.weights_, made.weights_)
    assert again.names == made.names
    assert list(again.names) == list(made.names)
    assert (again.templates, again.rejection) == (made.templates, made.rejection)
    assert again.origin == "somewhere"
    np.testing.assert_array_equal(again.predict([RED, BLUE]), made.predict([RED, BLUE]))
    assert [p.name for p in tmp_path.iterdir()] == ["colours.classifier"]


def test_saved_classifier_is_refused_on_another_model(encoder, tmp_path):
    path = tmp_path / "x.classifier"
    build_classifier(encoder, ["red", "green"]).save(path)
    with pytest.raises(LabelError, match="was made with the model 'tiny'"):
        read_classifier(path).join(replace(encoder, identify=lambda: "0" * 64))
    with pytest.raises(LabelError, match="no fingerprint"):
        build_classifier(replace(encoder, identify=str), ["red", "green"]).save(path)


def test_damaged_classifiers_are_refused(encoder, tmp_path):
    path = tmp_path / "x.classifier"
    build_classifier(encoder, ["red", "green"]).save(path)
    data = path.read_bytes()
    damaged = {
        "short": data[:-10],
        "empty": b"",
        "text": b"labels: cat, dog",
        "format": data.replace(b'\\"format\\":1', b'\\"format\\":9'),
        "missing": data.replace(b'\\"templates\\"', b'\\"templatez\\"'),
        "not-unit": data[:-4] + b"\0\0\x80\x7f",
    }
    for name, content in damaged.items():
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(LabelError, match=name):
            read_classifier(file)
    with pytest.raises(LabelError, match="no file"):
        read_classifier(tmp_path / "nowhere")
    with pytest.raises(LabelError, match="Cannot write"):
        build_classifier(encoder, ["red", "green"]).save(tmp_path / "no" / "folder")


def test_load_classifier_finds_its_model(tiny_folder, tmp_path, pictures):
    path = tmp_path / "x.classifier"
    model = keshin.load(tiny_folder, threads=1)
    made = model.classifier(["cat", "dog", "bird"])
    made.save(path)
    files = [pictures / "red.png", pictures / "deep" / "青.png"]
    for again in (keshin.load_classifier(path), keshin.load_classifier(path, model)):
        np.testing.assert_array_equal(again.predict(files), made.predict(files))
    # a checkpoint is no classifier
    with pytest.raises(LabelError, match="Was a checkpoint meant"):
        keshin.load_classifier(tiny_folder / "model.safetensors")


def test_load_classifier_whose_model_is_gone(encoder, tmp_path):
    path = tmp_path / "x.classifier"
    build_classifier(encoder, ["red", "green"], origin=str(tmp_path / "gone")).save(path)
    with pytest.raises(CheckpointError, match="gone"):
        keshin.load_classifier(path)


def test_saved_file_is_plain(encoder, tmp_path):
    """Readable without keshin: safetensors with JSON in its metadata."""
    from safetensors import safe_open

    path = tmp_path / "x.classifier"
    build_classifier(encoder, ["red", "green"]).save(path)
    with safe_open(path, "numpy") as file:
        facts = json.loads(file.metadata()["keshin.classifier"])
        assert sorted(file.keys()) == ["background", "weights"]
    assert facts["names"] == [["red", ["red"]], ["green", ["green"]]]
