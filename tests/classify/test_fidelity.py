"""How far a mode is from fp32: numbers, intervals, pictures that cannot be read, the command."""

import json

import pytest

from keshin.classify import labels_from_text
from keshin.classify.fidelity import fidelity
from keshin.encode.runtime import onnx_encoder
from keshin.errors import DataError


def test_the_same_mode_is_equal_to_itself(tiny_checkpoint, pictures):
    encoder = onnx_encoder(tiny_checkpoint, threads=1)
    files = [pictures / "red.png", pictures / "broken.jpg", pictures / "deep" / "green.jpg"]
    found = fidelity(encoder, encoder, files, labels_from_text("cat, dog"))
    assert found.pictures == 2
    assert [failure.index for failure in found.failed] == [1]
    assert found.least == pytest.approx(1, abs=1e-6)
    assert (found.changed.count, found.changed.labels, found.changed.low) == (0, 2, 0)
    assert fidelity(encoder, encoder, files).changed is None
    with pytest.raises(DataError, match="None of the pictures"):
        fidelity(encoder, encoder, [pictures / "broken.jpg"])


def test_the_command_reports_as_json(run_keshin, tiny_folder, pictures, tmp_path):
    done = run_keshin(
        *("info", tiny_folder, "--fidelity", pictures, "--labels", "cat, dog", "--format", "json"),
        environment={"KESHIN_CACHE": str(tmp_path)},
    )
    assert done.returncode == 1, done.stderr  # one picture is broken
    report = json.loads(done.stdout)
    assert report["mode"] == "int8"
    assert report["pictures"] == 3
    assert report["cosine to fp32"]["median"] > 0.99
    assert report["changed answers"]["labels"] == 2
    assert [entry["file"].endswith("broken.jpg") for entry in report["failed"]] == [True]
    assert list((tmp_path / "quantised").glob("*.safetensors"))


def test_labels_need_pictures(run_keshin):
    done = run_keshin("info", "mini", "--labels", "cat")
    assert done.returncode == 2
    assert b"--fidelity" in done.stderr
