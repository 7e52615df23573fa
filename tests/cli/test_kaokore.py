"""The command ``kaokore``: wrong use, and a whole run on drawn faces."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kaokore_faces import miniature
from keshin.cli.kaokore import _folder
from keshin.cli.main import main
from keshin.core.tensors import write_tensors

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


@pytest.mark.slow
def test_a_whole_run_with_a_resnet50(tmp_path, tiny_folder, monkeypatch):
    """Random weights in torchvision's names, of a network as small as the loader takes."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr("keshin.evaluate.sets.kaokore.faces.version_of", lambda _labels: "1.0")
    monkeypatch.setattr("keshin.evaluate.kaokore.few.SIZES", (1,))
    weights = tmp_path / "resnet50.safetensors"
    write_tensors(weights, {k: v.numpy() for k, v in resnet(torch).items()})
    folder = miniature(tmp_path / "k")
    report = tmp_path / "化身.html"
    arguments = ["--data", folder, "-m", tiny_folder, "--report", report, "--language", "ja"]
    arguments += ["--format", "json", "--no-pictures", "--resnet50", weights]
    refused = CliRunner().invoke(main, ["kaokore", *map(str, arguments)])
    assert refused.exit_code == 2
    assert "Nothing beside it says how" in refused.output
    arguments += ["--resnet50-preprocess", "torchvision-v1"]
    found = CliRunner().invoke(main, ["kaokore", *map(str, arguments)])
    assert found.exit_code == 0, found.output
    study = json.loads(found.stdout)
    assert study["version"] == "1.0"
    assert not study["final"]
    methods = {method["key"]: method for method in study["methods"]}
    assert methods["resnet50"]["dev"]["area"]["value"] > 0.9  # red is easy for any network
    assert "resnet50" in study["gains"]
    assert [row["key"] for row in study["status"]][-1] == "resnet50"
    assert "looking at" in found.stderr
    text = report.read_text(encoding="utf-8")
    assert "CLIPは「化身」と「人」を見分けられるか" in text
    assert "教師ありResNet-50の線形プローブ" in text
    assert "data:image" not in text


def resnet(torch):
    """torchvision's names and shapes of a bottleneck network with one block a stage."""
    make, state = torch.Generator().manual_seed(0), {}

    def conv(name, out, inputs, side):
        size = (out, inputs, side, side)
        state[f"{name}.weight"] = torch.randn(size, generator=make) / (inputs * side * side) ** 0.5

    def norm(name, channels):
        for part, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            state[f"{name}.{part}"] = torch.full((channels,), float(value))

    conv("conv1", 8, 3, 7), norm("bn1", 8)
    channels = 8
    for stage in range(1, 5):
        name, planes = f"layer{stage}.0", 8 * 2 ** (stage - 1)
        for number, (out, inputs, side) in enumerate(
            ((planes, channels, 1), (planes, planes, 3), (4 * planes, planes, 1)), start=1
        ):
            conv(f"{name}.conv{number}", out, inputs, side), norm(f"{name}.bn{number}", out)
        conv(f"{name}.downsample.0", 4 * planes, channels, 1)
        norm(f"{name}.downsample.1", 4 * planes)
        channels = 4 * planes
    state["fc.weight"], state["fc.bias"] = torch.randn(10, channels), torch.zeros(10)
    return state


def test_a_folder_that_eval_fetched_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KESHIN_DATA", str(tmp_path / "sets"))
    assert _folder("1.3", download=False) == Path("kaokore-1.3")
    (tmp_path / "sets" / "kaokore-1.3").mkdir(parents=True)
    assert _folder("1.3", download=False) == tmp_path / "sets" / "kaokore-1.3"
    assert _folder("1.3", download=True) == Path("kaokore-1.3")
