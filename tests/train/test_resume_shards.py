"""A loader over shards: the same batches for any number of workers and processes, from any step."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyarrow")

from keshin.train.convert import Settings, convert  # noqa: E402
from keshin.train.data import Pool, batches  # noqa: E402
from keshin.train.distributed import World  # noqa: E402
from keshin.train.recipe import Recipe, Source, read_recipe  # noqa: E402
from shapes import write_parquet, write_recipe  # noqa: E402


def recipe(folder: Path, workers: int = 0) -> Recipe:
    """72 pairs in shards and 36 in a table that is seen one and a half times; a window of 24."""
    if not (folder / "shards").exists():
        source = Source(path=str(write_parquet(folder / "p.parquet", 72)))
        convert(Settings(source, shard_size=20_480), folder / "shards")
    path = write_recipe(folder, workers=f"{workers}\nwindow = 24\nlanes = 2")
    extra = 'repeat = 1.5\n[[data.sources]]\npath = "shards/*.tar"\n[optim]\n'
    path.write_text(path.read_text().replace("[optim]\n", extra))
    return read_recipe(path)


def read(plan: Recipe, start: int, stop: int, world: World | None = None) -> list[tuple]:
    loader = batches(Pool(plan), plan, start, stop, world or World())
    return [(batch.texts, batch.pixels.sum((1, 2, 3)).tolist(), batch.bad) for batch in loader]


def test_any_step_any_number_of_processes(tmp_path: Path) -> None:
    plan = recipe(tmp_path)
    assert len(list((tmp_path / "shards").glob("*.tar"))) > 3
    whole = read(plan, 0, 12)
    assert not any(bad for _, _, bad in whole)
    assert read(plan, 7, 12) == whole[7:]
    for size in (2, 3, 4):
        parts = [read(plan, 5, 12, World(rank, size)) for rank in range(size)]
        for batch, shares in zip(whole[5:], zip(*parts, strict=True), strict=True):
            assert [text for texts, _, _ in shares for text in texts] == batch[0]
            assert [each for _, pixels, _ in shares for each in pixels] == batch[1]


@pytest.mark.slow
def test_any_number_of_workers(tmp_path: Path) -> None:
    assert read(recipe(tmp_path, 2), 4, 12) == read(recipe(tmp_path), 4, 12)
