"""``models``, ``pull`` and ``info``, and loading by name: with a hub, without one, with damage."""

import json

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

import keshin
from hub import COMMIT, serve, status
from keshin import api
from keshin.cli.main import main
from keshin.core import hub as hub_module
from keshin.core.config import parse_config
from keshin.core.foreign import OPENAI_FACTS
from keshin.core.pulled import hub_cache, storage
from keshin.core.shapes import expected_shapes
from keshin.core.tensors import write_tensors
from keshin.core.tokenizer import Tokenizer
from keshin.facts.releases import releases

NAME, REPO = "openai/ViT-B-32", "timm/vit_base_patch32_clip_224.openai"
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
PICTURE = {name: OPENAI_FACTS[name] for name in ("mean", "std", "resize", "interpolation")}
OPEN_CLIP = {
    "model_cfg": {
        "embed_dim": 12,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 8, "head_width": 4, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": PICTURE["mean"], "std": PICTURE["std"]},
}  # fmt: skip


def made_tensors():
    blocks = {"width": 8, "layers": 1, "heads": 2, "mlp_width": 32, "activation": "quick_gelu"}
    facts = {
        "format": 1,
        "name": "made",
        "embed_dim": 12,
        "vision": {"kind": "vit", "image_size": [32, 32], "patch_size": 16, **blocks},
        "text": {
            "kind": "transformer", "context_length": 77, "vocab_size": 49408, **blocks,
            "causal": True, "pool": "end-of-text",
        },
        "tokenizer": {"cleaning": "clip", "start": 49406, "end": 49407, "pad": 0},
        "preprocess": {"size": [32, 32], **PICTURE},
        "score": {"kind": "softmax"},
    }  # fmt: skip
    for tower in ("vision", "text"):
        facts[tower]["layer_norm_eps"] = 1e-5
    config = parse_config(msgspec.json.encode(facts), origin="test")
    dice = np.random.default_rng(0)
    shapes = expected_shapes(config)
    return {n: dice.standard_normal(s, np.float32).reshape(s) for n, s in shapes.items()}


@pytest.fixture(scope="module", autouse=True)
def one_tokenizer():
    """Making OpenAI's tokenizer takes half a second: make it once."""
    tokenizer = Tokenizer.clip()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tokenizer, "clip", lambda _length=77: tokenizer)
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A tiny model in OpenCLIP's layout, as bytes."""
    path = tmp_path_factory.mktemp("made") / WEIGHTS
    write_tensors(path, made_tensors())
    return {CONFIG: json.dumps(OPEN_CLIP).encode(), WEIGHTS: path.read_bytes()}


@pytest.fixture(autouse=True)
def own_caches(tmp_path, monkeypatch):
    for name in ("HF_HUB_OFFLINE", "HF_TOKEN", "KESHIN_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("KESHIN_CACHE", str(tmp_path / "keshin"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(hub_module, "WAITS", (0.0,))


@pytest.fixture
def hub(files, monkeypatch):
    with serve({REPO: dict(files), "someone/own": dict(files)}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def config(name, **options):
    """The fact sheet of what ``keshin.load`` would run."""
    return api.find_checkpoint(name, **options)[0].config


def run(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])


def answer(*arguments):
    result = run(*arguments, "-f", "json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


# --- models --------------------------------------------------------------------------------------


def test_models_lists_the_embedded_and_the_known():
    rows = answer("models")
    assert len(rows) == len(api.embedded_models()) + len(releases())
    assert {row["state"] for row in rows} <= {"embedded", "known"}
    row = next(row for row in rows if row["name"] == NAME)
    assert row["imagenet"] == 63.2
    assert "table 11" in row["imagenet_source"]
    assert row["parameters"] == 151277313
    assert row["image"] == [224, 224]
    assert row["languages"] == ["en"]
    table = run("models", "openai")
    assert table.exit_code == 0
    assert len(table.stdout.splitlines()) == 1 + 9
    assert "0.61 GB" in table.stdout


@pytest.mark.parametrize(
    ("words", "first"),
    [
        (["siglip2", "512"], "siglip2/ViT-B-16-512"),
        (["ja"], "siglip/ViT-B-16-i18n-256"),
        (["laion2b", "H-14"], "laion2b/ViT-H-14"),
        (["CC-BY-NC"], "metaclip-400m/ViT-B-32"),
    ],
)
def test_models_by_words(words, first):
    rows = answer("models", *words)
    assert rows[0]["name"] == first
    assert len(rows) < len(releases())


def test_models_without_any(tmp_path, monkeypatch):
    monkeypatch.setattr(api, "EMBEDDED", tmp_path)
    assert answer("models", "--here") == []
    nothing = run("models", "zzz")
    assert nothing.exit_code == 0
    assert "No model is so" in nothing.stderr


def test_an_embedded_model(tmp_path, tiny_folder, monkeypatch):
    monkeypatch.setattr(api, "EMBEDDED", tmp_path)
    (tmp_path / "small").symlink_to(tiny_folder)
    assert api.embedded_models() == ("small",)
    assert keshin.load("small", threads=1).origin == "small"
    assert answer("models", "--here")[0]["embedding"] == 16
    pulled = run("pull", "small")
    assert pulled.exit_code == 0
    assert "nothing to fetch" in pulled.stderr


# --- pull and load -------------------------------------------------------------------------------


def test_pull_then_use_without_a_network(hub, monkeypatch, pictures):
    result = run("pull", NAME)
    assert result.exit_code == 0, result.stderr
    folder = storage(hub_cache(), REPO) / "snapshots" / COMMIT
    assert result.stdout.strip() == str(folder)
    assert f"{NAME} is here: 2 MB in 2 files, commit {COMMIT[:12]}" in result.stderr
    asked = len(hub.requests)

    again = run("pull", "openai/vit-b/32")  # another spelling; nobody is asked
    assert again.exit_code == 0
    assert again.stdout == result.stdout
    assert run("pull", NAME, "--verify").exit_code == 0
    assert len(hub.requests) == asked

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    model = keshin.load(NAME, threads=1)
    assert (model.name, model.origin) == (NAME, NAME)
    assert model.config.licence == "MIT"
    assert model.config.source == f"{REPO} at {COMMIT}"
    assert model.encode_images([pictures / "red.png"]).shape == (1, 12)
    assert keshin.load("openai/vit-b/32", threads=1).name == NAME
    assert [row["name"] for row in answer("models", "--here")][-1] == NAME
    assert len(hub.requests) == asked
    classified = run("classify", pictures / "red.png", "-l", "cat, dog", "-m", NAME, "-f", "json")
    assert json.loads(classified.stdout)["model"] == NAME


def test_load_fetches_only_when_told(hub):
    with pytest.raises(
        keshin.CheckpointError, match=r"keshin pull openai/ViT-B-32 \(about 0\.6 GB"
    ):
        keshin.load(NAME)
    assert hub.requests == []
    assert config(NAME, download=True).name == NAME
    assert hub.requests


def test_another_repository(hub):
    name = "hf:someone/own"
    assert run("pull", name).exit_code == 0
    assert config(name).name == name
    assert answer("models", "--here")[-1]["name"] == name
    assert answer("info", name)["repository"] == "someone/own"
    wrong = run("pull", "hf:nothing")
    assert wrong.exit_code == 2
    assert "Write hf:OWNER/NAME" in wrong.stderr


def test_damage_is_never_used(hub, files):
    run("pull", NAME)
    blob = (storage(hub_cache(), REPO) / "snapshots" / COMMIT / WEIGHTS).resolve()
    blob.write_bytes(files[WEIGHTS][:-100])
    with pytest.raises(keshin.CheckpointError, match="has changed since it was pulled"):
        keshin.load(NAME)
    offline = run("pull", NAME, "--offline")
    assert offline.exit_code == 1
    assert "The network is switched off" in offline.stderr
    assert run("pull", NAME).exit_code == 0
    assert config(NAME).name == NAME


def test_what_another_program_fetched_is_found(hub):
    run("pull", NAME)
    for record in api.records_folder().iterdir():
        record.unlink()  # as if keshin had never been there
    hub.requests.clear()
    assert answer("models", "--here")[-1]["state"] == "here"
    assert config(NAME).name == NAME
    assert hub.requests == []


def test_pull_fails_in_sentences(hub):
    hub.faults[WEIGHTS] = [status(503)] * 2
    failed = run("pull", NAME)
    assert failed.exit_code == 1
    assert "did not come in 2 attempts: the server answered 503" in failed.stderr
    assert failed.stdout == ""
    unknown = run("pull", "openai/ViT-B-23")
    assert unknown.exit_code == 2
    assert "Did you mean" in unknown.stderr


def test_no_network_at_all():
    failed = run("pull", NAME)
    assert failed.exit_code == 1
    assert "cannot be reached" in failed.stderr
    offline = run("pull", NAME, "--offline")
    assert offline.exit_code == 1
    assert "network is switched off" in offline.stderr
    assert run("models").exit_code == 0


# --- info ----------------------------------------------------------------------------------------


def test_info_of_a_checkpoint(tiny_folder):
    assert "facts.vision.patch_size" in run("info", tiny_folder).stdout
    facts = answer("info", tiny_folder)
    assert facts["facts"]["text"]["pool"] == "end-of-text"
    assert facts["logit_scale"] == pytest.approx(20)
    assert len(facts["fingerprint"]) == 64


def test_info_of_what_is_only_known():
    facts = answer("info", "siglip2/ViT-B-16-256")
    assert "keshin pull siglip2/ViT-B-16-256" in facts["state"]
    assert facts["facts"]["score"] == "sigmoid"
    assert facts["imagenet"] == 79.1
    assert any("cleaning" in sentence for sentence in facts["uncertain"])
    table = run("info", "siglip2/ViT-B-16-256")
    assert table.exit_code == 0
    lines = [line.strip() for line in table.stdout.splitlines()]
    assert facts["uncertain"][-1] in lines  # a line each
    assert len(facts["uncertain"]) > 1
    assert run("info", "nix").exit_code == 2


def test_info_of_what_was_pulled(hub):
    run("pull", NAME)
    facts = answer("info", NAME)
    assert facts["commit"] == COMMIT
    assert set(facts["files"]) == {CONFIG, WEIGHTS}
    assert facts["paper"] == "arXiv:2103.00020"
    assert any(
        sentence.startswith("embed_dim: keshin's table says 512") for sentence in facts["uncertain"]
    )


def test_a_bare_file_says_what_it_lacks(tmp_path, files):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(files[WEIGHTS])
    facts = answer("info", path)
    assert set(facts["missing"]) >= {"activation", "head_width", "mean", "resize", "tokenizer"}
    assert facts["known"]["vision"] == {
        "kind": "vit", "patch_size": 16, "width": 8, "layers": 1, "mlp_width": 32,
        "image_size": [32, 32],
    }  # fmt: skip
    assert facts["known"]["types"] == ["float32"]
    assert len(facts["sha256"]) == 64
    assert "weights.facts.json" in facts["how to state it"]
    with pytest.raises(
        keshin.CheckpointError, match=r"\n  activation: .*\n  head_width: "
    ) as caught:
        keshin.load(path)
    assert str(caught.value).count("\n  ") == len(facts["missing"])


def test_facts_beside_a_file(tmp_path, files):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(files[WEIGHTS])
    beside = tmp_path / "weights.facts.json"
    beside.write_text('{"like": "openai/ViT-B-32", "head_width": 4}')
    sheet = config(path)
    assert (sheet.vision.activation, sheet.vision.heads) == ("quick_gelu", 2)
    beside.write_text('{"like": "laion2b/ViT-B-32", "head_width": 4}')
    assert config(path).vision.activation == "gelu"  # converted anew
    with pytest.raises(
        keshin.CheckpointError, match=r"says that head_width is 4, but facts= says 8"
    ):
        keshin.load(path, facts={"head_width": 8})
    beside.write_text('{"like": "nobody/nothing"}')
    with pytest.raises(keshin.CheckpointError, match="knows no release 'nobody/nothing'"):
        keshin.load(path)
    beside.write_text("[")
    with pytest.raises(keshin.CheckpointError, match="is not a JSON object of facts"):
        keshin.load(path)


def test_facts_in_python(tmp_path, files):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(files[WEIGHTS])
    stated = {"like": "openai/ViT-B-32", "head_width": 4}
    assert config(path, facts=stated).text.heads == 2
    (tmp_path / "folder").mkdir()
    sheet = {"model_cfg": OPEN_CLIP["model_cfg"]}  # says nothing of mean and std
    (tmp_path / "folder" / CONFIG).write_text(json.dumps(sheet))
    (tmp_path / "folder" / WEIGHTS).write_bytes(files[WEIGHTS])
    missing = answer("info", tmp_path / "folder")
    assert set(missing["missing"]) == {"mean", "std"}
    (tmp_path / "folder" / "facts.json").write_text(
        json.dumps({k: PICTURE[k] for k in ("mean", "std")})
    )
    assert config(tmp_path / "folder").preprocess.mean == PICTURE["mean"]


def test_an_original_file_is_recognised_by_its_hash(tmp_path, files, monkeypatch):
    from keshin.core import stated
    from keshin.facts.releases import get

    path = tmp_path / "anything.safetensors"
    path.write_bytes(files[WEIGHTS])
    monkeypatch.setattr(stated.releases, "by_sha256", lambda _digest: get(NAME))
    with pytest.raises(keshin.CheckpointError, match="head_width 64 does not divide"):
        keshin.load(path)  # the table's facts were taken, and this tiny model has others
    assert config(path, facts={"head_width": 4}).vision.heads == 2
