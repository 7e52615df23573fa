"""The same weights give the same features in open_clip, in transformers and in keshin."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("open_clip")
pytest.importorskip("transformers")

pytestmark = [
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # the peers' own
]


def _script():
    import sys

    path = Path(__file__).parents[2] / "benchmarks" / "parity.py"
    spec = importlib.util.spec_from_file_location("parity", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["parity"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


parity = _script()


@pytest.mark.parametrize("model", parity.MODELS)
def test_features_are_equal(model):
    rows = parity.measure(model)
    assert {row.tower for row in rows} >= {"image", "text", "text, trimmed"}
    assert {row.engine for row in rows} >= {"PyTorch", "ONNX Runtime"}
    if not model.startswith("RN"):
        assert {row.files for row in rows} == {"open_clip", "transformers"}
    for row in rows:
        assert row.unit < parity.LIMIT, row
        assert row.raw < parity.LIMIT, row


def test_a_wrong_fact_would_be_seen():
    """The comparison is sharp: each fact changes the features by far more than the limit."""
    wrong = [
        {"activation": "gelu"},
        {"layer_norm_eps": 1e-3},
        {"head_width": 32},
        {"causal": False},
        {"pool": "last"},
    ]
    found = parity.sensitivity("ViT-B/32", wrong)
    print(dict(zip(map(str, wrong), found, strict=True)))
    assert all(distance > 10 * parity.LIMIT for distance in found), found
