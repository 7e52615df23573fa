"""A plan counts what the towers do, and changes nothing on the disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("pyarrow")

from keshin.cli.planning import Amount  # noqa: E402
from keshin.cli.train import train  # noqa: E402
from keshin.errors import RecipeError  # noqa: E402
from keshin.facts import paper  # noqa: E402
from keshin.train.plan.answer import Question  # noqa: E402
from keshin.train.plan.counts import count  # noqa: E402
from keshin.train.plan.history import past_runs, sheet  # noqa: E402
from keshin.train.plan.planner import make_plan  # noqa: E402
from keshin.train.plan.work import trace  # noqa: E402
from keshin.train.recipe import read_recipe  # noqa: E402
from shapes import write_recipe  # noqa: E402


def plan(tmp_path: Path, more: str = "", question: Question = Question(steps=0), **changes: str):  # noqa: B008
    path = write_recipe(tmp_path, **changes)
    path.write_text(path.read_text(encoding="utf-8") + more, encoding="utf-8")
    return make_plan(read_recipe(path), question)


def test_operations_are_those_of_the_textbook(tmp_path):
    """A block of width d, MLP m, n tokens: 2 n d (4 d + 2 m) for the matrices, 4 n^2 d for
    attention; the patches and the projection beside them."""
    found = plan(tmp_path).operations
    d, m, n, layers = 32, 64, 17, 2
    blocks = layers * (2 * n * d * (4 * d + 2 * m) + 4 * n * n * d)
    patches, projection = 2 * 16 * d * 3 * 16, 2 * d * 16
    assert found.image_forward == blocks + patches + projection
    assert found.total == pytest.approx(
        found.image_forward + found.text_forward + found.backward + found.loss
    )
    forward = found.image_forward + found.text_forward
    assert 1.9 * forward < found.backward < 2.1 * forward  # no gradient of the pixels


def test_parts_repeat_the_forward_pass_of_all_but_one(tmp_path):
    found = plan(tmp_path, batch_size="12\nmicro_batch = 3")
    forward = found.operations.image_forward + found.operations.text_forward
    assert found.micro_batches == 4
    assert found.operations.repeated == pytest.approx(forward * 3 / 4, rel=0.05)


def test_what_saves_work_or_memory_is_counted(tmp_path):
    whole = plan(tmp_path)
    fewer = plan(tmp_path, "[augment]\npatch_dropout = 0.5\n")
    again = plan(tmp_path, threads="1\nrecompute = true")
    parts = plan(tmp_path, batch_size="12\nmicro_batch = 3")
    assert fewer.operations.image_forward < 0.65 * whole.operations.image_forward
    assert again.operations.backward > 1.25 * whole.operations.backward
    kept = [one.memory["activations"] for one in (whole, fewer, again, parts)]
    assert max(kept[1:]) < kept[0]


def test_devices_share_the_batch_and_shards_the_weights(tmp_path):
    one = plan(tmp_path)
    many = plan(tmp_path, question=Question(devices=4, steps=0))
    cut = plan(tmp_path, question=Question(devices=4, steps=0), threads="1\nshard = true")
    assert many.batch_of_a_device == 3
    assert many.memory["buckets"] == 4 * many.parameters["trained"]
    assert cut.memory["optimizer"] == one.memory["optimizer"] // 4
    assert not one.exchanges
    with pytest.raises(RecipeError, match="5 devices cannot share evenly"):
        plan(tmp_path, question=Question(devices=5))


def test_hours_and_cost_from_a_stated_pace(tmp_path):
    question = Question(devices=2, samples=7.2e6, price=2.5, rate=1000, steps=0)
    found = plan(tmp_path, question=question).length
    assert found is not None
    assert found.hours == pytest.approx(1.0)
    assert found.cost == pytest.approx(5.0)
    assert found.waiting is None
    by_flops = plan(tmp_path, question=Question(flops=1e9, steps=0))
    assert by_flops.length is not None
    assert by_flops.length.samples_per_second == pytest.approx(1e9 / by_flops.operations.total)


def test_the_command_measures_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = write_recipe(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = CliRunner().invoke(train, [str(recipe), "--plan", "--steps", "3", "--format", "json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["measured"]["steps"] == 3
    assert found["measured"]["samples_per_second"] > 0
    assert found["length"]["by"] == "the steps measured here"
    assert sorted(tmp_path.rglob("*")) == before
    table = CliRunner().invoke(train, [str(recipe), "--plan", "--steps", "0", "--rate", "10"])
    assert "AdamW's moments" in table.stdout
    assert "ViT-L/14" in table.stdout


def test_options_of_the_plan_need_it(tmp_path):
    done = CliRunner().invoke(train, [str(write_recipe(tmp_path)), "--price", "2"])
    assert done.exit_code == 2
    assert "--price belongs to --plan" in done.output


def test_amounts():
    convert = Amount().convert
    assert [convert(text, None, None) for text in ("400M", "12.8g", "1_000", "2.5k")] == [
        4e8, 12.8e9, 1000, 2500,
    ]  # fmt: skip


def test_the_papers_runs_come_out_as_they_can_have_been():
    for run in past_runs():
        assert 0.1 < run.share_of_peak < run.share_with_recomputation < 0.5


@pytest.mark.slow
def test_the_papers_operations_are_counted_again():
    sizes = {"ViT-L/14": 427_616_513, "RN50x64": 623_258_305}
    for run in paper.training():
        config = sheet(run["model"], run["embed_dim"], run["vision"], run["text"])
        work = trace(config, 1, [(1, 77)])
        assert (work.forward, work.backward) == (run["forward"], run["backward"])
        assert count(config).parameters == sizes[run["model"]]
