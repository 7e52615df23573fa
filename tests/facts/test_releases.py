"""The table of releases makes sense in itself; tests/peers compares it with OpenCLIP's registry."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import keshin
from keshin.core.foreign.known import OPENAI_FACTS, STATEMENTS, TYPES
from keshin.core.pulled import WANTED
from keshin.errors import CheckpointError
from keshin.facts import releases as table
from keshin.facts.releases import releases

ROWS = list(releases().values())
each_row = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
OPENAIS_NINE = {
    "RN50", "RN101", "RN50x4", "RN50x16", "RN50x64",
    "ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336",
}  # fmt: skip


def test_names_are_unique_and_every_family_is_there():
    raw = tomllib.loads(table.TABLE.read_text(encoding="utf-8"))
    assert len(ROWS) == sum(len(family["releases"]) for family in raw["families"].values())
    assert {row.name for row in ROWS if row.family == "openai"} == {
        f"openai/{name}" for name in OPENAIS_NINE
    }
    assert set(raw["architectures"]) == {row.architecture for row in ROWS}
    assert {row.source for row in ROWS} == set(table.sources())
    assert len({(row.architecture, row.tag) for row in ROWS}) == len(ROWS)


def test_spellings_lead_to_one_release():
    for spelling in (
        "openai/ViT-L-14-336", "openai/ViT-L/14@336px", "OPENAI/vit-l-14-336", "ViT-L-14-336:openai",
        "ViT-L-14-336/openai", "timm/vit_large_patch14_clip_336.openai",
    ):  # fmt: skip
        assert table.get(spelling).name == "openai/ViT-L-14-336"
    assert table.find("ViT-B-32") is None  # of whom?
    with pytest.raises(CheckpointError, match=r"Did you mean .*openai/ViT-B-32"):
        table.get("openai/ViT-B-23")
    spellings = [table._plain(row.name) for row in ROWS]
    assert len(set(spellings)) == len(ROWS)


@each_row
def test_facts_go_together(row):
    assert re.fullmatch(r"[a-z0-9.-]+/[A-Za-z0-9-]+", row.name)
    assert row.repo.count("/") == 1
    assert row.layout in WANTED
    sigmoid = row.family.startswith("siglip")
    assert (
        (row.score == "sigmoid")
        == sigmoid
        == row.logit_bias
        == (row.resize == "squash" and sigmoid)
    )
    assert row.causal == (row.pool == "end-of-text") == (row.tokenizer == "clip")
    assert row.mean == (0.5, 0.5, 0.5) if sigmoid else True
    assert all(0 < value < 1 for value in (*row.mean, *row.std))
    assert row.reads("en")
    assert row.reads("ja") == (row.tokenizer in ("mt5", "gemma", "xlm-roberta"))
    assert row.imagenet is None or 1 < row.imagenet < 90
    assert 1e8 < row.parameters < 3e9
    assert all(re.match(r"[a-z_ ]+: ", sentence) for sentence in row.uncertain)
    patch = re.search(r"-(14|16|32)", row.architecture)
    if patch and row.image_size % int(patch[1]):
        assert any("image_size" in sentence for sentence in row.uncertain)


@each_row
def test_statements_are_ones_that_readers_know(row):
    stated = row.statements()
    assert set(STATEMENTS) <= set(stated) <= set(TYPES)


def test_quick_gelu_is_where_it_belongs():
    quick = {row.name for row in ROWS if row.activation == "quick_gelu"}
    assert {row.family for row in ROWS if row.name in quick} == {
        "openai", "laion400m", "dfn", "metaclip",
    }  # fmt: skip
    plain = {"metaclip-altogether/ViT-H-14", "dfn2b-39b/ViT-L-14"}
    assert plain.isdisjoint(quick)
    assert "laion400m/ViT-B-32" in quick
    assert "laion400m/ViT-B-16" not in quick


def test_the_facts_of_openai_are_those_of_the_table():
    for row in ROWS:
        if row.family == "openai":
            assert row.statements() == OPENAI_FACTS
            assert row.original is not None
            assert table.by_sha256(row.original.sha256) is row
    assert table.by_sha256("0" * 64) is None


def test_heads_differ_where_they_must():
    assert table.get("laion2b/ViT-H-14").statements()["head_width"] == 80
    assert table.get("laion2b/ViT-H-14").statements()["text_head_width"] == 64
    assert "text_head_width" not in table.get("laion2b/ViT-B-32").statements()


def test_differences_are_sentences():
    row = table.get("laion2b/ViT-L-14")
    facts = {
        "embed_dim": 768,
        "vision": {"activation": "quick_gelu"},
        "text": {"context_length": 77, "causal": True, "pool": "end-of-text"},
        "preprocess": {
            "size": [224, 224], "resize": "shorter-side", "interpolation": "bicubic",
            "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
        },
        "tokenizer": {"cleaning": "clip"},
        "score": {"kind": "softmax"},
    }  # fmt: skip
    assert row.differences(facts) == [
        "activation: keshin's table says 'gelu', the files say 'quick_gelu', which is used"
    ]
    facts["vision"] = {}  # a ResNet has none
    assert row.differences(facts) == []


def test_the_table_costs_nothing_until_it_is_asked():
    code = (
        f"import sys; sys.path.insert(0, {str(Path(keshin.__file__).parents[1])!r})\n"
        "import keshin.api\n"
        "from keshin.facts import releases\n"
        "print(releases._table.cache_info().currsize,"
        " [m for m in ('huggingface_hub', 'httpx2', 'tqdm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 []"
