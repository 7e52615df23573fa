"""The curves of runs: read as they were written, drawn with everything that happened."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from keshin.errors import DataError, KeshinError
from keshin.watch.curves import read_run, read_runs, thinned
from keshin.watch.page import as_csv, languages, plain, plot_page

CHANCE = math.log(16)


def write_run(folder: Path, steps: int = 30, *, events: bool = True, device: str = "cpu") -> Path:
    start = {"event": "start", "step": 0, "steps": steps, "device": device, "chance_loss": CHANCE}
    records: list[dict] = [start]
    for step in range(1, steps + 1):
        records.append({
            "step": step, "loss": 2.7 - step / steps, "chance_loss": CHANCE, "learning_rate": 1e-3,
            "gradient_norm": 2.0, "gradient_norm_image": 1.0, "gradient_norm_text": 1.7,
            "logit_scale": 14.0, "pairs_per_second": 100.0, "data_wait": 0.01,
        })  # fmt: skip
        if step % 10 == 0:
            records.append(
                {"event": "validation", "step": step, "dev_accuracy": 0.5, "dev_chance": 0.1}
            )
    if events:
        records += [
            {
                "event": "left out",
                "step": 12,
                "why": "not finite",
                "value": None,
                "file": "trouble/x.json",
            },
            {"event": "put back", "step": 12, "weights_of": 10, "attempt": 1},
            {**start, "event": "resume", "step": 20},
        ]
    folder.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(json.dumps(record) for record in records)
    (folder / "metrics.jsonl").write_text(lines + '\n{"step": 31, "lo', encoding="utf-8")
    return folder


def drawings(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.S)]


def test_a_run_is_read_as_far_as_it_is_written(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "first"))
    assert (run.name, run.step, run.batch) == ("first", 30, 16)
    assert run.chance == pytest.approx(CHANCE)
    assert len(run.series("loss")) == 30
    assert run.series("dev_accuracy") == [(10, 0.5), (20, 0.5), (30, 0.5)]
    assert run.validation_keys == ["dev_accuracy"]
    assert run.chance_of("dev_accuracy") == 0.1
    assert read_run(tmp_path / "first" / "metrics.jsonl").name == "first"


@pytest.mark.parametrize("content", [None, b"", b"no json\n"])
def test_what_is_no_run_is_a_sentence(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=r"metrics\.jsonl"):
        read_run(tmp_path)


def test_long_series_keep_their_extremes() -> None:
    series = [(step, 100.0 if step == 777 else 1.0) for step in range(5000)]
    found = thinned(series, 200)
    assert len(found) == 200
    assert max(point.high for point in found) == 100
    assert [p.mean for p in thinned(series[:3], 200)] == [1, 1, 1]


@pytest.mark.parametrize("language", languages())
def test_the_page_shows_everything_and_needs_nothing(tmp_path: Path, language: str) -> None:
    pytest.importorskip("jinja2")
    page = plot_page([read_run(write_run(tmp_path / "a<b>&"))], language=language)
    assert f'<html lang="{language}">' in page
    assert "a<b>" not in page
    assert not re.search(r"<script|https?://(?!www\.w3\.org)", page)
    labels = [svg.get("aria-label") for svg in drawings(page)]
    assert len(labels) == 7 + 1  # and the key of the colours of the towers
    titles = [
        title.text for svg in drawings(page) for title in svg.iter() if title.tag.endswith("title")
    ]
    for step in ("12", "20"):
        assert any(step in title for title in titles)
    assert "trouble/x.json" in page


def test_several_runs_are_told_apart_by_name_and_colour(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    folders = [
        write_run(tmp_path / "x" / "run"),
        write_run(tmp_path / "y" / "run", 40, events=False),
    ]
    runs = read_runs(folders)
    assert [run.name for run in runs] == ["x/run", "y/run"]
    page = plot_page(runs, by="pairs")
    loss = next(svg for svg in drawings(page) if svg.get("aria-label") == "Loss")
    colours = {e.get("class") for e in loss.iter() if (e.get("class") or "").startswith("line")}
    assert colours == {"line s0", "line s1"}
    assert "pairs seen" in page


def test_what_a_person_should_look_at_is_said(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    folder = write_run(tmp_path / "run", events=False)
    healthy = plot_page([read_run(folder)])
    assert "What to look at" not in healthy
    text = (folder / "metrics.jsonl").read_text()
    text = text.replace('"data_wait": 0.01', '"data_wait": 0.4')
    text = re.sub(r'"loss": [0-9.]+', f'"loss": {CHANCE}', text)
    text = text.replace('"logit_scale": 14.0', '"logit_scale": 100.0')
    (folder / "metrics.jsonl").write_text(text)
    page = plot_page([read_run(folder)])
    for said in ("has not learned anything yet", "40\N{NO-BREAK SPACE}%", "at its limit"):
        assert said in page


def test_a_run_that_has_only_begun_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    (tmp_path / "metrics.jsonl").write_text('{"event": "start", "step": 0, "steps": 9}\n')
    assert "0 of 9" in plot_page([read_run(tmp_path)])
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0, "gradient_norm": null}\n')
    assert "2.000" in plot_page([read_run(tmp_path)])
    with pytest.raises(DataError, match="by step"):
        plot_page([read_run(tmp_path)], by="pairs")


def test_an_unknown_language(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    with pytest.raises(KeshinError, match="xx"):
        plot_page([read_run(write_run(tmp_path))], language="xx")


def test_as_values_and_as_a_table(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run"))
    (found,) = json.loads(json.dumps(plain([run])))
    assert found["series"]["loss"][0] == [1, pytest.approx(2.7 - 1 / 30)]
    assert len(found["left_out"]) == len(found["put_back"]) == len(found["resume"]) == 1
    rows = list(csv.DictReader(io.StringIO(as_csv([run]))))
    assert len(rows) == len(run.records)
    assert rows[1]["run"] == "run"
    assert float(rows[1]["gradient_norm_text"]) == 1.7


def test_the_command(tmp_path: Path, run_keshin) -> None:
    pytest.importorskip("jinja2")
    folder = write_run(tmp_path / "run")
    done = run_keshin("plot", folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().strip() == str(folder / "plot.html")
    assert (folder / "plot.html").exists()
    done = run_keshin("plot", folder, "--format", "json")
    assert json.loads(done.stdout)[0]["name"] == "run"
    done = run_keshin("plot", tmp_path / "nothing")
    assert done.returncode == 2
    assert b"metrics.jsonl" in done.stderr or b"nothing" in done.stderr
