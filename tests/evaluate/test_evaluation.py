import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, recall_score

import keshin
from keshin.errors import DataError
from keshin.evaluate import Answers, Captioned, Labelled, assess, read_evaluation, trust
from keshin.evaluate.evaluation import evaluate, same_question
from keshin.evaluate.reporting.report import render
from keshin.evaluate.sources import Choices, open_pictures

COLOURS = {"cat": (220, 30, 30), "dog": (30, 220, 30), "red_bird": (30, 30, 220)}


def paint(folder, *, each=12, seed=0, split=""):
    """A folder per class, each of one colour with noise, so that a probe can learn it."""
    rng = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        own = folder / split / name
        own.mkdir(parents=True)
        for n in range(each):
            pixels = rng.normal(colour, 60, (18, 18, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(own / f"{n}.png")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("evaluated"))


@pytest.fixture(scope="module")
def model(tiny_folder):
    return keshin.load(tiny_folder, threads=1)


def test_a_folder_is_all_it_takes(model, folder, tmp_path):
    found = keshin.evaluate(model, folder)
    assert found.main.name == "accuracy"
    assert found.main.count == 36
    assert found.main.chance == pytest.approx(1 / 3)
    assert found.main.low < found.main.value < found.main.high
    assert found.prompts.names["red bird"] == ("red bird",)
    assert found.prompts.source == "default"
    assert found.ensembling is None  # there is only the single prompt
    text = found.report(tmp_path / "out.html").read_text()
    assert found.data.digest in text
    assert found.model.fingerprint in text
    assert "keshin.evaluate(keshin.load(" in text
    assert read_evaluation(found.save(tmp_path / "out.json")) == found
    assert "accuracy" in found.table()
    assert "cat/0.png" in found.answers.ids


def test_numbers_are_those_of_plain_computation(model, folder):
    found = keshin.evaluate(model, folder, templates=["a photo of a {}.", "a drawing of a {}."])
    labels = [name.replace("_", " ") for name in COLOURS]
    classifier = model.classifier(labels, templates=["a photo of a {}.", "a drawing of a {}."])
    files = [folder / name for name in found.answers.ids]
    predicted = classifier.cosines(files).argmax(axis=1)
    targets = np.repeat(np.arange(3), 12)
    assert found.answers.predictions == tuple(predicted)
    assert found.answers.targets == tuple(targets)
    assert found.main.value == pytest.approx(accuracy_score(targets, predicted))
    recalls = recall_score(targets, predicted, average=None)
    assert [c.value for c in found.classes] == pytest.approx(list(recalls))
    assert found.scores[1].value == pytest.approx(recalls.mean())
    assert sum(n for *_, n in found.confusion) == 36
    scores = classifier.predict_proba(files).max(axis=1)
    assert found.answers.scores == pytest.approx(tuple(scores.tolist()), abs=1e-5)
    assert found.ensembling.second == "single prompt"
    assert found.prompts.source == "given"
    single = model.classifier(labels).cosines(files).argmax(axis=1)
    assert found.single.value == pytest.approx(accuracy_score(targets, single))
    assert found.ensembling.difference == pytest.approx(found.main.value - found.single.value)


def test_probe_learns_from_the_training_folder_or_from_halves(model, tmp_path):
    plain = paint(tmp_path / "plain", each=16)
    crossed = keshin.evaluate(model, plain, probe=True).probe
    assert crossed.crossed
    assert crossed.score.count == 48
    assert crossed.score.value > 0.8
    assert crossed.versus.low > 0
    split = paint(paint(tmp_path / "split", each=8, split="test"), each=16, seed=1, split="train")
    found = keshin.evaluate(model, split, probe=True, few_shot=True)
    assert not found.probe.crossed
    assert found.probe.trained_on == 48
    assert found.probe.score.count == 24
    assert set(found.few_shot.curves) == {"zero", "text"}
    assert [p.shots for p in found.few_shot.curves["zero"]] == [1, 2, 4, 8, 16]
    assert found.few_shot.zero_shot == pytest.approx(found.main.value)
    named = keshin.evaluate(model, split / "test", probe=True, train=split / "train")
    assert named.probe.score == found.probe.score
    opened = keshin.evaluate.open_dataset(split, "train")
    given = keshin.evaluate(model, split / "test", probe=True, train=opened)
    assert given.probe.protocol.startswith("Trained on 48 pictures of 'split'")


def test_broken_pictures_are_listed_and_not_counted(model, tmp_path):
    folder = paint(tmp_path / "x", each=4)
    (folder / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    found = keshin.evaluate(model, folder)
    assert found.main.count == 12
    assert [failure.id for failure in found.failures] == ["cat/broken.jpg"]
    assert found.data.failed == 1


def test_several_classes_a_picture(model, folder):
    pictures = [folder / name / f"{n}.png" for name in COLOURS for n in range(12)]
    targets = np.zeros((36, 3), np.int64)
    targets[np.arange(36), np.arange(36) // 12] = 1
    targets[::5, 1] = 1
    targets[3, 0] = -1
    found = evaluate(model, Labelled(pictures, targets, ("cat", "dog", "bird")))
    assert found.main.name == "11-point mAP"
    assert [c.count for c in found.classes] == [11, int((targets[:, 1] == 1).sum()), 12]
    assert all(c.low <= c.value <= c.high for c in found.classes)
    assert found.calibration is None
    assert found.confusion == ()
    assert "<html" in __import__("keshin.evaluate.reporting.report", fromlist=["render"]).render(
        found
    )


def test_captions_find_pictures(model, folder):
    pictures = [folder / name / "0.png" for name in COLOURS]
    captions = ("a cat", "a photo of a cat", "a dog", "a red bird", "a bird")
    data = Captioned(pictures, captions, np.array([0, 0, 1, 2, 2]))
    found = evaluate(model, data)
    assert found.retrieval
    assert len(found.scores) == 6
    assert found.data.pictures == 3
    from keshin.evaluate.reporting.report import render

    assert "5 captions" in render(found)


def judged(cosines, targets, names):
    data = Labelled([b""] * len(targets), np.asarray(targets), tuple(names))
    answers = Answers(data, np.zeros((len(targets), 2), np.float32), cosines.astype(np.float32), ())
    return assess.judge(answers, 20.0)


def test_captions_are_limited_with_their_pictures(model, folder):
    pictures = sorted(folder.rglob("*.png"))[:9]
    owners = np.repeat(np.arange(9), 2)
    data = Captioned(pictures, tuple(f"a photo, number {n}" for n in range(18)), owners)
    found = keshin.evaluate(model, data, limit=4)
    assert (found.data.pictures, found.data.limited) == (4, True)
    assert len(found.prompts.names) == 8
    assert found.data.digest == keshin.evaluate(model, data, limit=4).data.digest
    assert found.data.digest != keshin.evaluate(model, data, limit=4, seed=1).data.digest
    assert "found more easily" in render(found)
    assert not keshin.evaluate(model, data, limit=9).data.limited


def test_scores_and_risk_have_intervals(model, folder):
    found = keshin.evaluate(model, folder)
    (low, high), area = found.calibration.interval, found.risk_area
    assert low <= found.calibration.corrected <= high
    assert area.best <= area.value
    assert area.low <= area.value <= area.high
    assert all(p.low <= p.risk <= p.high for p in found.risk)
    page = render(found)
    assert "AURC" in page
    assert "95 % interval [" in page.replace("\N{NO-BREAK SPACE}", " ")
    assert "area under the curve" in found.to_csv()


def test_a_wrong_order_of_the_labels_alarms():
    names = [f"class {n}" for n in range(10)]
    targets = np.arange(300) % 10
    rng = np.random.default_rng(0)
    right = np.eye(10)[targets] * 0.5 + rng.normal(0, 0.1, (300, 10))
    assert not trust.order(judged(right, targets, names)).suspicious
    alarm = trust.order(judged(np.roll(right, 1, axis=1), targets, names))
    assert alarm.suspicious
    assert len(alarm.moved) == 10
    assert "order" in alarm.sentence


def test_calibration_is_fitted_on_other_pictures():
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 1.5, (4000, 10))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = (shares.cumsum(axis=1) > rng.random((4000, 1))).argmax(axis=1)
    names = [str(n) for n in range(10)]
    too_sure = trust.calibration(judged(logits * 2 / 20, targets, names))
    assert too_sure.temperature == pytest.approx(2, rel=0.05)
    assert too_sure.error > 0.1
    assert too_sure.p < 0.01
    assert too_sure.error_after < 0.03
    fair = trust.calibration(judged(logits / 20, targets, names))
    assert fair.p > 0.01
    assert fair.error < 2 * fair.chance
    curve, area = trust.risk(judged(logits / 20, targets, names))
    assert len(curve) == trust.POINTS
    assert curve[-1].coverage == 1
    assert curve[9].risk < curve[-1].risk
    assert area.low < area.value < area.high


def test_limit_is_a_random_part_and_is_said(model, folder):
    found = keshin.evaluate(model, folder, limit=10)
    assert found.main.count == 10
    assert found.data.limited
    assert (
        found == keshin.evaluate(model, folder, limit=10)
        or found.answers == keshin.evaluate(model, folder, limit=10).answers
    )
    other = keshin.evaluate(model, folder, limit=10, seed=1)
    assert other.answers.ids != found.answers.ids


def test_same_question_knows_what_changed(model, folder, tmp_path):
    choices = Choices()
    found = evaluate(model, folder, choices=choices)
    assert same_question(model, open_pictures(folder, choices), choices, found)
    changed = Choices(templates=("a drawing of a {}.",))
    assert not same_question(model, open_pictures(folder, changed), changed, found)
    other = paint(tmp_path / "y", seed=3)
    assert not same_question(model, open_pictures(other, choices), choices, found)


def test_wrong_use_is_a_sentence(model, folder, tmp_path):
    with pytest.raises(DataError, match="There is no"):
        keshin.evaluate(model, tmp_path / "nowhere")
    from keshin.classify import make_labels

    with pytest.raises(DataError, match="2 labels for 3 classes"):
        keshin.evaluate(model, folder, labels=make_labels(["a", "b"]))
    other = paint(tmp_path / "z", each=2)
    (other / "cat").rename(other / "lion")
    with pytest.raises(DataError, match="must be the same"):
        keshin.evaluate(model, folder, probe=True, train=other)
    with pytest.raises(TypeError):
        keshin.evaluate(model, folder, nonsense=1)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_kill_9_computes_nothing_twice(tiny_folder, tmp_path, monkeypatch):
    folder = paint(tmp_path / "x", each=700)
    code = (
        "import sys, time, keshin\n"
        f"model = keshin.load({str(tiny_folder)!r}, threads=1)\n"
        "def watch(what, done, total):\n"
        "    time.sleep(0.004)\n"
        "    print(done, flush=True)\n"
        f"keshin.evaluate(model, {str(folder)!r}, watch=watch)\n"
    )
    environment = {**os.environ, "KESHIN_CACHE": str(tmp_path / "cache"),
                   "PYTHONPATH": str(Path(keshin.__file__).parents[1])}  # fmt: skip
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        done, until = 0, time.monotonic() + 60
        while done < 1300 and time.monotonic() < until:
            done = int(process.stdout.readline() or 0)
        process.send_signal(signal.SIGKILL)
    assert 1300 <= done < 2100
    monkeypatch.setenv("KESHIN_CACHE", str(tmp_path / "cache"))
    from keshin.evaluate.features import extract

    model = keshin.load(tiny_folder, threads=1)
    counts = []
    extract(
        model, sorted(folder.rglob("*.png")), progress=lambda c: counts.append((c.cached, c.new))
    )
    cached, new = counts[-1]
    assert cached + new == 2100
    assert cached >= 500  # what was flushed, at most two seconds before


def test_json_of_an_evaluation_is_strict(model, folder):
    content = json.loads(keshin.evaluate(model, folder).to_json(), parse_constant=pytest.fail)
    assert content["run"]["versions"]["keshin"] == keshin.__version__
