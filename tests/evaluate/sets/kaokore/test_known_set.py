"""KaoKore among the known data sets: fetched from its holders, opened, listed, evaluated."""

import msgspec
import pytest
from click.testing import CliRunner

from kaokore_faces import official_files, plan, serve, version_of
from keshin.cli.main import main
from keshin.core.polite import Manners
from keshin.errors import DataError, DownloadError
from keshin.evaluate.sets import fetchers
from keshin.evaluate.sets.catalogue import row
from keshin.evaluate.sets.datasets import open_dataset
from keshin.evaluate.sets.fetch import fetch_dataset
from keshin.evaluate.sets.kaokore import faces
from keshin.evaluate.sets.kaokore.download import download
from keshin.facts import datasets as facts

QUICK = Manners(pause=0.0, waits=(0.0,), silence=2.0, longest=2.0)


@pytest.fixture
def holder(monkeypatch):
    """The makers' and the holders' servers, and a version 1.0 that is theirs."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(faces, "version_of", lambda _labels: "1.0")
    with serve() as running:
        running.files = official_files(running.url)
        version = version_of(running.files)

        def politely(name, folder, **how):
            assert name == "1.0"
            return download(version, folder, manners=QUICK, base=running.url, **how)

        monkeypatch.setattr(fetchers, "download_kaokore", politely)
        yield running


def test_fetched_from_its_holders_once(holder, tmp_path):
    dataset, seen = facts.get("kaokore_status"), []
    folder = tmp_path / "kaokore-1.0"
    before = row(dataset, folder)
    assert (before.state, before.fetch_bytes, before.size_is_exact) == (
        "to fetch",
        161000000,
        False,
    )
    assert fetch_dataset(dataset, tmp_path, progress=lambda *of: seen.append(of)) == []
    assert seen[0] == ("pictures", 0, len(plan()) - 1)
    assert seen[-1][1:] == (len(plan()) - 1, len(plan()) - 1)
    assert holder.most_open == 1
    assert row(dataset, folder).state == "here"
    holder.requests.clear()
    fetch_dataset(facts.get("kaokore"), tmp_path)  # the same pictures: another question
    assert holder.requests == []


def test_what_did_not_come_is_said(holder, tmp_path):
    holder.faults = {9: [(400, {}, b"")]}
    with pytest.raises(DownloadError, match=r"1 failed"):
        fetch_dataset(facts.get("kaokore"), tmp_path)
    holder.faults = {}
    fetch_dataset(facts.get("kaokore"), tmp_path)
    with pytest.raises(DownloadError, match="switched off"):
        fetch_dataset(facts.get("kaokore"), tmp_path, offline=True)


def test_the_questions_and_their_groups(holder, tmp_path):
    fetch_dataset(facts.get("kaokore"), tmp_path)
    for key, metric, names in (
        ("kaokore", "ROC AUC", ("person", "incarnation")),
        ("kaokore_status", "accuracy", ("noble", "warrior", "incarnation", "commoner")),
        ("kaokore_gender", "accuracy", ("male", "female")),
    ):
        opened = open_dataset(key, "dev", data_dir=tmp_path)
        assert (opened.metric, opened.labelled.names) == (metric, names)
        expected = [entry for entry in plan() if entry[4] == "dev" and entry[0] != 5]
        assert len(opened.labelled) == len(expected)
        assert len(set(opened.labelled.groups)) == len({entry[1] for entry in expected})
        again = open_dataset(opened.path, "train", like=opened.dataset.key)
        assert len(again.labelled) > len(opened.labelled)
    with pytest.raises(DataError, match=r"not in .*kaokore-1\.3.*keshin eval kaokore@1\.3 --fetch"):
        open_dataset("kaokore@1.3", "dev", data_dir=tmp_path)
    (tmp_path / "kaokore-1.3").symlink_to(tmp_path / "kaokore-1.0")
    with pytest.raises(DataError, match=r"holds version 1\.0 of KaoKore, not 1\.3"):
        open_dataset("kaokore@1.3", "dev", data_dir=tmp_path)


def test_evaluated_by_its_name(holder, tmp_path, tiny_folder):
    arguments = ["eval", "kaokore_status", "--split", "dev", "--data-dir", str(tmp_path)]
    arguments += ["-m", str(tiny_folder), "--no-cache", "--format", "json", "--fetch", "--probe"]
    found = CliRunner().invoke(main, arguments)
    assert found.exit_code == 0, found.output
    told = msgspec.json.decode(found.stdout)
    assert told["data"]["key"] == "kaokore_status"
    assert told["probe"]["score"]["value"] > told["scores"][0]["value"]


def test_the_list_says_what_nobody_has_verified(tmp_path):
    long = ["eval", "--list", "--long", "--data-dir", str(tmp_path)]
    found = CliRunner().invoke(main, [*long, "kaokore", "objectnet", "mnist"]).stdout
    assert "test 18,574 (not verified)" in found
    assert "train 60,000, test 10,000 (Table 9 of the paper)" in found
    assert "(not verified)" not in found[found.index("kaokore: KaoKore") :]
    assert "kaokore@1.0, kaokore@1.1, kaokore@1.2, kaokore@1.3" in found
    short = CliRunner().invoke(main, ["eval", "--list", "kaokore"]).stdout
    assert len(short.strip().splitlines()) == 4
    assert "about 161.0 MB" in short
