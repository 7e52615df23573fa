"""The model card says what is known, whence, and what is not."""

import json
import shutil

import pytest

import keshin
from keshin.core.checkpoint import load_checkpoint
from keshin.exporting import export

RECORDS = [
    {"step": 10, "epoch": 0.5, "loss": 3.0, "chance_loss": 4.158883083, "pairs_per_second": 64.0},
    {"event": "validation", "step": 10, "shapes_accuracy": 0.25},
    {"step": 20, "epoch": 1.0, "loss": 2.5, "chance_loss": 4.158883083, "pairs_per_second": 32.0},
    {"event": "validation", "step": 20, "shapes_accuracy": 0.75},
]


def evaluation(fingerprint):
    score = {
        "name": "accuracy", "value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.1, "count": 200,
    }  # fmt: skip
    return json.dumps({
        "format": 1, "data": {"title": "Shapes", "split": "test", "pictures": 200},
        "model": {"name": "tiny", "fingerprint": fingerprint, "mode": "fp32"}, "scores": [score],
    })  # fmt: skip


def test_a_card_of_a_model_of_which_nothing_is_known(tmp_path, tiny_folder):
    text = (export(tiny_folder, tmp_path / "out").folder / "README.md").read_text()
    for heading in ("Use", "Data", "Compute", "Accuracy", "Licence", "Limits"):
        assert f"\n## {heading}\n" in text
    assert "On which pictures and texts it was trained is not known" in text
    assert "What it took to train the model is not known" in text
    assert "How good it is on test pictures is not known" in text
    assert "Unknown. Nobody stated one" in text
    assert str(tmp_path) not in text
    assert str(tiny_folder.parent) not in text


def test_a_card_of_a_run_with_an_evaluation(tmp_path, tiny_folder):
    run = tmp_path / "run"
    shutil.copytree(tiny_folder, run / "model")
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, RECORDS)) + '\n{"step": 2')
    (run / "recipe.toml").write_text(
        '[optim]\nbatch_size = 64\n[run]\ndevice = "cpu"\n[[data.sources]]\npath = "/a/pairs.tar"\n'
    )
    (run / "model" / "README.md").write_text("# Card of its makers\n")
    result = tmp_path / "result.json"
    result.write_text(evaluation(load_checkpoint(run / "model").fingerprint))
    done = export(run / "model", tmp_path / "out", format="openclip", evaluations=[result])
    text = (done.folder / "README.md").read_text()
    assert "- pairs.tar" in text
    assert "/a/" not in text
    assert "about 1,280" in text  # pairs
    assert "about 0.01 hours" in text  # 640 / 64 + 640 / 32 = 30 s
    assert "2.5000 (chance 4.159)" in text
    assert "shapes_accuracy: 0.7500" in text
    assert "| Shapes test | accuracy | 50.0 % | 40.0 – 60.0 | 10.0 % | 200 |" in text
    assert (done.folder / "original-card.md").read_text() == "# Card of its makers\n"
    assert "open_clip.create_model_and_transforms(name)" in text


def test_figures_of_another_model_are_refused(tmp_path, tiny_folder):
    result = tmp_path / "result.json"
    result.write_text(evaluation("0" * 64))
    with pytest.raises(keshin.CheckpointError, match="do not belong into this card"):
        export(tiny_folder, tmp_path / "out", evaluations=[result])
    result.write_text('{"scores": 3}')
    with pytest.raises(keshin.DataError, match="no evaluation that keshin wrote"):
        export(tiny_folder, tmp_path / "out", evaluations=[result])
    with pytest.raises(keshin.DataError, match=r"There is no .*metrics\.jsonl"):
        export(tiny_folder, tmp_path / "out", run=tmp_path)
    assert not (tmp_path / "out").exists()
