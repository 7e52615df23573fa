"""The command ``kaokore``: wrong use, and a whole run on drawn faces."""

import json

import pytest
from click.testing import CliRunner

from kaokore_faces import miniature
from keshin.cli.main import main
from keshin.evaluate.kaokore import clustered, trained
from keshin.statistics.figure import Figure

pytest.importorskip("sklearn")


def test_no_folder_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(main, ["kaokore"])
    assert found.exit_code == 2
    assert "There is no folder kaokore-1.0. Name it with --data, or fetch" in found.output


def test_another_version_is_said(tmp_path, tiny_folder):
    folder = miniature(tmp_path / "k")
    found = CliRunner().invoke(main, ["kaokore", "--data", str(folder), "-m", str(tiny_folder)])
    assert found.exit_code == 2
    assert "no official version, not 1.0" in found.output.replace("\n", " ")


def test_a_whole_run(tmp_path, tiny_folder, monkeypatch):
    monkeypatch.setattr("keshin.evaluate.kaokore.faces.version_of", lambda _labels: "1.0")
    monkeypatch.setattr(trained, "STRENGTHS", (0.1,))
    quick = Figure(value=0.75, low=0.6, high=0.9, chance=0.5, count=10)
    monkeypatch.setattr(clustered, "figure", lambda *_of, **_how: quick)
    folder = miniature(tmp_path / "k")
    report = tmp_path / "化身.html"
    arguments = ["--data", folder, "-m", tiny_folder, "--report", report, "--language", "ja"]
    arguments += ["--format", "json", "--no-pictures"]
    found = CliRunner().invoke(main, ["kaokore", *map(str, arguments)])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["version"] == "1.0"
    assert not json.loads(found.stdout)["final"]
    assert "looking at" in found.stderr
    text = report.read_text(encoding="utf-8")
    assert "CLIPは「化身」と「人」を見分けられるか" in text
    assert "data:image" not in text
