"""``keshin.finetune`` from pictures to files."""

import csv
import json

import numpy as np
import pytest

import keshin
from fine_pictures import COLOURS, picture, write_classes
from keshin.core.checkpoint import load_checkpoint
from keshin.errors import DataError
from keshin.finetune import Plan, read_result, running, trials
from keshin.finetune.material import open_material

SHORT = {
    "lora": Plan(rate=3e-3, epochs=1, rank=2, batch=8, least_steps=10),
    "full": Plan(rate=1e-3, epochs=1, batch=8, least_steps=10),
}


@pytest.fixture
def model(tiny_folder):
    return keshin.load(tiny_folder)


@pytest.fixture
def folder(tmp_path):
    return write_classes(tmp_path / "photos")


def test_a_probe_becomes_a_classifier_that_classify_takes(model, folder, tmp_path, run_keshin):
    out = tmp_path / "out"
    result = keshin.finetune(model, folder, out, methods=["text", "linear"])
    assert result.chosen in ("text", "linear")
    assert result.estimate.low > result.chance
    assert result.anchor.lost == 0
    assert {o.method for o in result.methods} == {"zero-shot", "text", "linear"}
    assert result.gain.low > 0
    written = read_result((out / "report.json").read_bytes())
    assert written.chosen == result.chosen
    assert not (out / "work").exists()
    assert "model.classifier" in (out / "README.md").read_text()
    new = tmp_path / "new.png"
    picture(COLOURS["red_bird"], 1234).save(new)
    done = run_keshin("classify", new, "--classifier", out / "model.classifier", "-f", "json")
    answers = json.loads(done.stdout)["results"][0]["answers"]
    assert answers[0]["label"] == "red bird"
    assert sum(a["score"] for a in answers) == pytest.approx(1, abs=1e-5)
    again = keshin.load_classifier(out / "model.classifier", model)
    assert again.head is not None
    assert list(again.predict([new])) == ["red bird"]
    with pytest.raises(DataError, match="not overwritten"):
        keshin.finetune(model, folder, out, methods=["text"])


def test_without_torch_only_probes_are_tried(model, folder, monkeypatch):
    monkeypatch.setattr(running, "torch_is_here", lambda: False)
    result = keshin.finetune(model, folder)
    reasons = {o.method: o.left_out for o in result.methods if o.left_out}
    assert reasons.keys() == {"lora", "full"}
    assert "keshin[train]" in reasons["lora"]
    assert result.files == {}


def test_nothing_is_chosen_over_zero_shot_when_labels_are_shuffled(model, tmp_path):
    folder = write_classes(tmp_path / "photos", each=10, shuffled=True)
    result = keshin.finetune(model, folder, methods=["text", "linear"])
    assert "labels do not follow the pictures" in {f.cause for f in result.findings}
    assert result.estimate.low < result.commonest < result.estimate.high


def test_a_tuned_model_is_an_ordinary_checkpoint(model, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "SHARES", (1.0,))
    out = tmp_path / "out"
    result = keshin.finetune(
        model, folder, out, methods=["full"], plans={"full": Plan(rate=1e-3, epochs=1, batch=12, least_steps=25)}, may_forget=None,
        test=folder,
    )  # fmt: skip
    assert result.chosen == "full"
    assert result.share == 1
    assert result.test.value > result.test_zero_shot.value
    assert len([p for p in result.pairs if p.same]) >= 24  # all test pictures were learnt from
    checkpoint = load_checkpoint(out / "model")
    assert checkpoint.fingerprint != result.fingerprint
    card = (out / "model" / "README.md").read_text()
    assert "keshin finetune" in card
    assert "Forgetting" in card
    tuned = keshin.load(out / "model")
    clf = tuned.classifier(["cat", "dog", "red bird"])
    new = [picture(colour, 999) for colour in COLOURS.values()]
    assert list(clf.predict(new)) == ["cat", "dog", "red bird"]


def test_the_guard_takes_the_model_back_when_the_anchor_falls(model, folder, tmp_path):
    """The anchor: the same colours under other names, which tuning must unlearn."""
    anchor = tmp_path / "anchor"
    old = model.classifier(["cat", "dog", "red bird"])
    for name, colour in COLOURS.items():
        for seed in range(8):
            image = picture(colour, 100 + seed)
            said = old.predict([image])[0]
            (anchor / said).mkdir(parents=True, exist_ok=True)
            image.save(anchor / said / f"{name}{seed}.png")
    if len(list(anchor.iterdir())) < 2:
        (anchor / "dog").mkdir(exist_ok=True)
        picture((0, 0, 0), 3).save(anchor / "dog" / "x.png")
    quick = Plan(rate=1e-3, epochs=1, batch=12, least_steps=25)
    options = {"methods": ["full"], "plans": {"full": quick}, "anchor": anchor}
    free = keshin.finetune(model, folder, may_forget=None, **options)
    kept = keshin.finetune(model, folder, may_forget=1.0, **options)
    assert free.anchor.lost > 5
    assert kept.anchor.lost <= 1.0
    assert (kept.share or 0) < free.share
    assert kept.anchor.before == free.anchor.before > 0.9


def test_an_interrupted_run_goes_on(model, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "SHARES", (1.0,))
    out, options = tmp_path / "out", {"methods": ["lora"], "plans": SHORT}
    seen = []

    def killed(what, done, total):
        seen.append((what, done))
        if what == "lora" and done > 0.5 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keshin.finetune(model, folder, out, watch=killed, **options)
    assert len(list((out / "work").glob("lora-*.json"))) >= 2
    with pytest.raises(DataError, match="interrupted"):
        keshin.finetune(model, folder, out, **options, seed=3)
    after = []
    again = keshin.finetune(
        model, folder, out, watch=lambda w, d, t: after.append((w, d)), **options
    )
    assert sum(w == "lora" for w, _ in after) < 35  # of 50: what was done is not done again
    alone = keshin.finetune(model, folder, **options)
    assert [o.accuracy for o in again.methods] == [o.accuracy for o in alone.methods]


def test_a_folder_with_other_files_is_refused(model, folder, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(DataError, match=r"mine\.txt"):
        keshin.finetune(model, folder, tmp_path / "out")


def test_captions_of_their_own_leave_whole_models_only(model, tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "SHARES", (1.0,))
    texts = [
        f"a {size} {name} number {i}" for i in range(8) for size in ("big",) for name in COLOURS
    ]
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "caption"])
        for number, text in enumerate(texts):
            picture(list(COLOURS.values())[number % 3], number).save(tmp_path / f"{number}.png")
            writer.writerow([f"{number}.png", text])
    result = keshin.finetune(model, tmp_path / "pairs.csv", methods=["text", "lora"], plans=SHORT)
    assert result.data.kind == "captions"
    assert result.metric == "caption found"
    assert 0.15 < result.chance < 0.3  # one of five
    reasons = {o.method: o.left_out for o in result.methods if o.left_out}
    assert "captions" in reasons["text"]


def test_captions_beside_pictures_and_repeated_ones_are_read(tmp_path):
    for number in range(9):
        picture((50, 90, 20 * number), number).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text(f"a thing of kind {number % 2}\n")
    found = open_material(tmp_path)
    assert found.names == ("a thing of kind 0", "a thing of kind 1")
    assert found.templates == ("{}",)
    assert np.bincount(found.targets).tolist() == [5, 4]
    (tmp_path / "0.txt").write_text("one\nand another\n")
    assert open_material(tmp_path).captions[0] == ("one", "and another")


def test_the_command_says_what_it_found(folder, tiny_folder, tmp_path, run_keshin):
    (folder / "cat" / "broken.jpg").write_bytes(b"no")
    done = run_keshin(
        "finetune", folder, "--model", tiny_folder, "--method", "text", "-o", tmp_path / "o",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr  # one picture could not be read
    text = done.stdout.decode()
    assert "Chosen: text" in text
    assert "broken.jpg" in text
    assert "which the choice does not flatter" in text
    assert (
        run_keshin("finetune", folder, "--model", tiny_folder, "-o", tmp_path / "o").returncode == 2
    )
