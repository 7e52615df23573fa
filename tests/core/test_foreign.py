"""Other projects' checkpoints: every table both ways, every missing fact named, nothing guessed."""

import functools
import json
import os
import pickle
import warnings
import zipfile

import msgspec
import numpy as np
import pytest

from keshin.core.checkpoint import load_checkpoint
from keshin.core.config import parse_config
from keshin.core.foreign import LAYOUTS, OPENAI_FACTS, convert, read_foreign
from keshin.core.foreign.known import STATEMENTS
from keshin.core.foreign.open_clip_keys import open_clip_keys
from keshin.core.foreign.openai import OPENAI_KEYS, infer_towers
from keshin.core.foreign.pickled import read_pickled
from keshin.core.foreign.transformers import TRANSFORMERS_KEYS
from keshin.core.foreign.transformers_siglip import SIGLIP_KEYS
from keshin.core.shapes import expected_shapes
from keshin.core.tensors import write_tensors
from keshin.core.tokenizer import Tokenizer
from keshin.errors import CheckpointError, MissingExtra

VOCABULARY = 49408
OPEN_CLIP_KEYS = open_clip_keys("own", "own")
OPEN_CLIP_CUSTOM_TEXT_KEYS = open_clip_keys("own", "custom")
TABLES = (OPENAI_KEYS, OPEN_CLIP_KEYS, OPEN_CLIP_CUSTOM_TEXT_KEYS, TRANSFORMERS_KEYS)
# The paper's table 19 and 20: embedding, picture, vision (layers, width, patch), text (width, heads)
NINE = {
    "RN50": (1024, 224, (3, 4, 6, 3), 64, None, 512),
    "RN101": (512, 224, (3, 4, 23, 3), 64, None, 512),
    "RN50x4": (640, 288, (4, 6, 10, 6), 80, None, 640),
    "RN50x16": (768, 384, (6, 8, 18, 8), 96, None, 768),
    "RN50x64": (1024, 448, (3, 15, 36, 10), 128, None, 1024),
    "ViT-B/32": (512, 224, 12, 768, 32, 512),
    "ViT-B/16": (512, 224, 12, 768, 16, 512),
    "ViT-L/14": (768, 224, 24, 1024, 14, 768),
    "ViT-L/14@336px": (768, 336, 24, 1024, 14, 768),
}


def sheet(embed=12, side=32, layers=2, width=16, patch=16, text=8, *, head=4, text_layers=2):
    blocks = {"activation": "quick_gelu", "layer_norm_eps": 1e-5}
    if patch is None:
        vision = {"kind": "modified-resnet", "layers": layers, "heads": width * 32 // head}
    else:
        vision = {
            "kind": "vit",
            "layers": layers,
            "patch_size": patch,
            "heads": width // head,
            "mlp_width": 4 * width,
            **blocks,
        }
    facts = {
        "format": 1,
        "name": "made",
        "embed_dim": embed,
        "vision": {**vision, "width": width, "image_size": [side, side]},
        "text": {
            "kind": "transformer",
            "context_length": 77,
            "vocab_size": VOCABULARY,
            "width": text,
            "layers": text_layers,
            "heads": text // head,
            "mlp_width": 4 * text,
            **blocks,
            "causal": True,
            "pool": "end-of-text",
        },
        "tokenizer": {"cleaning": "clip", "start": 49406, "end": 49407, "pad": 0},
        "preprocess": {
            "size": [side, side],
            **{n: OPENAI_FACTS[n] for n in ("resize", "interpolation", "mean", "std")},
        },
        "score": {"kind": "softmax"},
    }
    return parse_config(msgspec.json.encode(facts), origin="test")


def full_size(name):
    return sheet(*NINE[name], head=64, text_layers=12)


TINY = {"vit": sheet(), "resnet": sheet(layers=(1, 2, 1, 1), width=4, patch=None)}
FACTS = {**OPENAI_FACTS, "head_width": 4}


@functools.cache
def _made(config):
    dice = np.random.default_rng(0)
    shapes = expected_shapes(config)
    return {n: dice.standard_normal(s, np.float32).reshape(s) for n, s in shapes.items()}


def made(config):
    """Random tensors of a config; no two values alike, so that no mix-up stays hidden."""
    return dict(_made(config))


@pytest.fixture(scope="module", autouse=True)
def one_tokenizer():
    """Making OpenAI's tokenizer takes half a second: make it once."""
    tokenizer = Tokenizer.clip()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tokenizer, "clip", lambda _length=77: tokenizer)
        yield tokenizer


def same(first, second):
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert (array.dtype, array.shape) == (second[name].dtype, second[name].shape), name
        assert array.tobytes() == second[name].tobytes(), name


def with_prefix(tensors, prefix):
    return {prefix + name: array for name, array in tensors.items()}


# --- key tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.layout)
def test_round_trip_bit_for_bit(table, kind):
    if table is TRANSFORMERS_KEYS and kind == "resnet":
        pytest.skip("transformers has no ResNet")
    ours = made(TINY[kind])
    foreign = table.export_tensors(ours)
    imported = table.import_tensors(foreign, origin="test")
    same(imported, ours)
    same(table.export_tensors(imported), foreign)


@pytest.mark.parametrize("name", NINE)
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.layout)
def test_every_name_of_the_nine_models(table, name):
    if table is TRANSFORMERS_KEYS and name.startswith("RN"):
        pytest.skip("transformers has no ResNet")
    seen = set()
    for ours in expected_shapes(full_size(name)):
        foreign, transform = table.foreign(ours)
        assert len(foreign) == (3 if transform == "concat" else 1)
        for each in foreign:
            assert table.ours(each) == (ours, transform)
            assert not table.is_ignored(each)
            assert each not in seen
            seen.add(each)


@pytest.mark.parametrize("name", NINE)
def test_shapes_are_those_of_the_torch_model(name):
    torch = pytest.importorskip("torch")
    from keshin.encode.torch_model import CLIP

    with torch.device("meta"):
        model = CLIP(full_size(name))
    state = {n: tuple(t.shape) for n, t in model.state_dict().items()}
    counters = {n for n in state if n.endswith("num_batches_tracked")}
    assert all(OPENAI_KEYS.is_ignored(n) for n in counters)
    assert {n: s for n, s in state.items() if n not in counters} == expected_shapes(model.config)


@pytest.mark.parametrize("name", NINE)
def test_architecture_is_read_off_the_shapes(name):
    config = full_size(name)
    tensors = {n: np.broadcast_to(np.float32(0), s) for n, s in expected_shapes(config).items()}
    towers = infer_towers(tensors, OPENAI_FACTS, origin="test")
    whole = msgspec.to_builtins(config) | towers
    assert parse_config(msgspec.json.encode(whole), origin="test") == config


# --- SigLIP and XLM-R ----------------------------------------------------------------------------


def family(kind):
    """A small sheet of the SigLIP or the XLM-R family."""
    facts = msgspec.to_builtins(sheet())
    blocks = {"width": 8, "layers": 2, "heads": 2, "mlp_width": 12, "layer_norm_eps": 1e-6}
    if kind == "siglip":
        facts["embed_dim"] = 8
        facts["vision"] = {
            "kind": "vit-attention-pool", "image_size": [30, 32], "patch_size": 8, **blocks,
            "activation": "gelu_tanh",
        }  # fmt: skip
        facts["preprocess"]["size"] = [30, 32]
        facts["text"]["projection_bias"] = True
        facts["score"]["kind"] = "sigmoid"
    else:
        facts["text"] = {
            "kind": "roberta", "context_length": 16, "vocab_size": VOCABULARY, "positions": 20,
            "pad": 0, **blocks, "activation": "gelu", "pool": "mean", "projection_width": 6,
        }  # fmt: skip
    return parse_config(msgspec.json.encode(facts), origin="test")


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        (SIGLIP_KEYS, "siglip"),
        (open_clip_keys("timm", "custom"), "siglip"),
        (open_clip_keys("own", "hugging-face"), "xlm-r"),
    ],
    ids=lambda value: getattr(value, "layout", value),
)
def test_round_trip_of_the_families_bit_for_bit(table, kind):
    ours = made(family(kind))
    foreign = table.export_tensors(ours)
    assert len(foreign) > len(ours)  # joined tensors come apart
    imported = table.import_tensors(foreign, origin="test")
    same(imported, ours)
    same(table.export_tensors(imported), foreign)


def test_parts_of_other_sizes_are_joined_and_split():
    table = open_clip_keys("timm", "custom")
    whole = np.arange(12, dtype=np.float32)
    parts = table.export_tensors({"visual.attnpool.attn.in_proj_bias": whole})
    prefix = "visual.trunk.attn_pool."
    assert {name: len(part) for name, part in parts.items()} == {
        f"{prefix}q.bias": 4, f"{prefix}kv.bias": 8,
    }  # fmt: skip
    shuffled = dict(sorted(parts.items()))
    joined = table.import_tensors(shuffled, origin="test")
    np.testing.assert_array_equal(joined["visual.attnpool.attn.in_proj_bias"], whole)


def test_an_axis_that_the_layout_does_not_have_is_refused():
    with pytest.raises(CheckpointError, match=r"shape \[2\] stands where .* first axis of 1"):
        SIGLIP_KEYS.import_tensors({"logit_scale": np.zeros(2, np.float32)}, origin="test")


def test_contradictions_of_the_families_are_sentences():
    def refused(kind, message, **changes):
        facts = msgspec.to_builtins(family(kind))
        for path, value in changes.items():
            part, name = path.split("_", 1)
            facts[part][name] = value
        with pytest.raises(CheckpointError, match=message):
            parse_config(msgspec.json.encode(facts), origin="test")

    refused("siglip", "vision.width is 10 but embed_dim 8", vision_width=10)
    refused("siglip", "holds no whole patch", vision_patch_size=31)
    refused("siglip", "vision.width 8 is not a multiple of heads 3", vision_heads=3)
    refused("xlm-r", "text.pad is 1 but tokenizer.pad is 0", text_pad=1)
    refused("xlm-r", "text.positions 16 end before text.context_length 16", text_positions=16)


def test_a_folder_of_a_naflex_model_says_what_is_supported(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip2"}))
    with pytest.raises(CheckpointError, match=r"'siglip2'.*reads 'clip' and 'siglip'.*NaFlex"):
        read_foreign(tmp_path)


def test_queries_keys_and_values_keep_their_order():
    parts = {
        f"text_model.encoder.layers.3.self_attn.{x}_proj.bias": np.full(2, n, np.float32)
        for n, x in enumerate("qkv")
    }
    shuffled = dict(sorted(parts.items(), reverse=True))
    joined = TRANSFORMERS_KEYS.import_tensors(shuffled, origin="test")
    assert list(joined["transformer.resblocks.3.attn.in_proj_bias"]) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    "odd", ["visual.bn01.weight", "visual.bn1.weight2", "xlogit_scale", "", "text"]
)
def test_names_match_as_a_whole(odd):
    for table in TABLES:
        assert table.ours(odd) is None


def test_leftover_and_missing_keys_are_named_in_the_layouts_words():
    foreign = TRANSFORMERS_KEYS.export_tensors(made(TINY["vit"]))
    extra = {"text_model.extra": np.zeros(1), "vision_model.x": np.zeros(1)}
    with pytest.raises(CheckpointError, match=r"no use for 'text_model\.extra', 'vision_model\.x'"):
        TRANSFORMERS_KEYS.import_tensors({**foreign, **extra}, origin="test")
    lost = "vision_model.encoder.layers.1.self_attn.k_proj.weight"
    partial = {n: a for n, a in foreign.items() if n != lost}
    with pytest.raises(CheckpointError, match=f"it lacks '{lost}'"):
        TRANSFORMERS_KEYS.import_tensors(partial, origin="test")
    with pytest.raises(CheckpointError, match=r"and 2 more"):
        OPENAI_KEYS.import_tensors({f"x{i}": np.zeros(1) for i in range(10)}, origin="test")
    with pytest.raises(CheckpointError, match=r"has no name for 'visual\.bn1\.weight'"):
        TRANSFORMERS_KEYS.export_tensors({"visual.bn1.weight": np.zeros(1)})


# --- OpenAI --------------------------------------------------------------------------------------


@pytest.fixture
def bare(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_tensors(path, made(TINY["vit"]))
    return path


@pytest.mark.parametrize("kind", TINY)
def test_bare_weights_with_facts(tmp_path, kind):
    path = tmp_path / "tiny.safetensors"
    write_tensors(path, made(TINY[kind]))
    model = read_foreign(path, FACTS)
    expected = msgspec.structs.replace(
        TINY[kind], name="tiny", source="tiny.safetensors, OpenAI layout"
    )
    assert model.config == expected
    same(dict(model.tensors), made(TINY[kind]))
    assert model.tokenizer.vocab_size == VOCABULARY


@pytest.mark.parametrize("fact", STATEMENTS)
def test_each_fact_of_bare_weights_must_be_stated(bare, fact):
    with pytest.raises(CheckpointError) as caught:
        read_foreign(bare, {name: value for name, value in FACTS.items() if name != fact})
    message = str(caught.value)
    assert f"\n  {fact}: " in message
    assert not any(f"\n  {name}: " in message for name in STATEMENTS if name != fact)
    assert "facts=" in message
    assert "keshin.json" in message


def test_all_missing_facts_are_named_at_once(bare):
    with pytest.raises(CheckpointError) as caught:
        read_foreign(bare)
    assert all(f"\n  {name}: " in str(caught.value) for name in STATEMENTS)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("activation", "relu"),
        ("head_width", 0),
        ("head_width", "4"),
        ("layer_norm_eps", -1),
        ("mean", (0.5, 0.5)),
        ("pool", "mean"),
        ("resize", "crop"),
        ("tokenizer", "bert"),
        ("colour", "red"),
    ],
)
def test_impossible_facts_are_refused(bare, fact, value):
    with pytest.raises(CheckpointError, match=fact):
        read_foreign(bare, {**FACTS, fact: value})


def test_head_width_that_does_not_divide(bare):
    with pytest.raises(CheckpointError, match="head_width 5 does not divide the width 8"):
        read_foreign(bare, {**FACTS, "head_width": 5})


def test_keshin_json_beside_bare_weights(bare):
    (bare.parent / "keshin.json").write_bytes(msgspec.json.encode(TINY["vit"]))
    assert read_foreign(bare).config == TINY["vit"]
    with pytest.raises(CheckpointError, match="Give one of them"):
        read_foreign(bare, FACTS)
    other = msgspec.structs.replace(
        TINY["vit"], tokenizer=msgspec.structs.replace(TINY["vit"].tokenizer, pad=1)
    )
    (bare.parent / "keshin.json").write_bytes(msgspec.json.encode(other))
    with pytest.raises(CheckpointError, match="another tokenizer"):
        read_foreign(bare)


def test_half_precision_becomes_single(tmp_path):
    path = tmp_path / "half.safetensors"
    half = {n: a.astype(np.float16) for n, a in made(TINY["vit"]).items()}
    write_tensors(path, half)
    model = read_foreign(path, FACTS)
    assert all(a.dtype == np.float32 for a in model.tensors.values())
    np.testing.assert_array_equal(model.tensors["visual.proj"], half["visual.proj"].astype("f4"))


def test_weights_of_another_kind(tmp_path):
    path = tmp_path / "model.safetensors"
    write_tensors(path, TRANSFORMERS_KEYS.export_tensors(made(TINY["vit"])))
    with pytest.raises(CheckpointError, match="does not fit the OpenAI layout: keshin has no use"):
        read_foreign(path, FACTS)
    tensors = made(TINY["vit"])
    del tensors["transformer.resblocks.1.ln_2.bias"]
    write_tensors(tmp_path / "holes.safetensors", tensors)
    with pytest.raises(CheckpointError, match=r"lacks 'transformer\.resblocks\.1\.ln_2\.bias'"):
        read_foreign(tmp_path / "holes.safetensors", FACTS)
    tensors = made(TINY["vit"])
    tensors["visual.positional_embedding"] = np.zeros((4, 16), np.float32)
    write_tensors(tmp_path / "grid.safetensors", tensors)
    with pytest.raises(CheckpointError, match="4 picture positions"):
        read_foreign(tmp_path / "grid.safetensors", FACTS)


def test_nothing_fits(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        read_foreign(tmp_path / "nothing")
    assert "does not exist" in str(caught.value)
    assert all(layout.name in str(caught.value) for layout in LAYOUTS)
    with pytest.raises(CheckpointError, match="none of the layouts"):
        read_foreign(tmp_path)


# --- .pt -----------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def as_torch(torch, tensors, dtype=None):
    return {n: torch.from_numpy(a.copy()).to(dtype or torch.float32) for n, a in tensors.items()}


@pytest.mark.parametrize("shape", ["plain", "training state", "distributed"])
def test_pickled_state_dicts(torch, tmp_path, shape):
    path = tmp_path / "tiny.pt"
    state = as_torch(torch, made(TINY["resnet"]))
    state["visual.bn1.num_batches_tracked"] = torch.tensor(5)
    if shape == "distributed":
        state = with_prefix(state, "module.")
    torch.save({"epoch": 3, "state_dict": state} if shape != "plain" else state, path)
    same(dict(read_foreign(path, FACTS).tensors), made(TINY["resnet"]))


def test_pickled_bfloat16(torch, tmp_path):
    torch.save(as_torch(torch, made(TINY["vit"]), torch.bfloat16), tmp_path / "b.pt")
    tensors = read_foreign(tmp_path / "b.pt", FACTS).tensors
    expected = as_torch(torch, made(TINY["vit"]), torch.bfloat16)["visual.proj"].float().numpy()
    np.testing.assert_array_equal(tensors["visual.proj"], expected)


def test_torchscript_archive_as_openai_released_them(torch, tmp_path):
    from keshin.encode.torch_model import CLIP

    model = CLIP(TINY["resnet"]).eval().half()
    for name in ("input_resolution", "context_length", "vocab_size"):
        model.register_buffer(name, torch.tensor(7))
    inputs = (
        torch.zeros(1, 3, 32, 32, dtype=torch.half),
        torch.zeros(1, 77, dtype=torch.long),
        torch.zeros(1, dtype=torch.long),
    )
    path = tmp_path / "RN.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated, and notes constant shapes
        torch.jit.save(torch.jit.trace(model, inputs, check_trace=False), str(path))
    with zipfile.ZipFile(path) as archive:
        assert any(name.endswith("constants.pkl") for name in archive.namelist())
    tensors = read_foreign(path, FACTS).tensors
    assert tensors.keys() == expected_shapes(TINY["resnet"]).keys()
    for name, value in model.state_dict().items():
        if name in tensors:
            np.testing.assert_array_equal(tensors[name], value.float().numpy())


class Attack:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("form", ["torch.save", "bare pickle", "inside", "torchscript"])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt"])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(torch, tmp_path, form, suffix):
    path, mark = tmp_path / f"evil{suffix}", tmp_path / "executed"
    if form == "bare pickle":
        path.write_bytes(pickle.dumps(Attack(mark)))
    elif form == "torchscript":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("evil/data.pkl", pickle.dumps(Attack(mark), protocol=2))
            archive.writestr("evil/constants.pkl", pickle.dumps(Attack(mark), protocol=2))
            archive.writestr("evil/version", "3\n")
    else:
        state = {**as_torch(torch, made(TINY["vit"])), "logit_scale": Attack(mark)}
        torch.save(Attack(mark) if form == "torch.save" else state, path)
    with pytest.raises(CheckpointError, match=r"could run code on this machine") as caught:
        read_foreign(path, FACTS)
    assert not mark.exists()
    assert "weights_only=False" not in str(caught.value)
    if form == "torch.save":
        torch.load(path, weights_only=False)
        assert mark.exists()  # the attack is a real one


def test_a_class_of_torchscript_runs_nothing(torch, tmp_path):
    """A module record may not smuggle in state under names that Python calls."""
    path = tmp_path / "evil.pt"
    body = b"\x80\x02c__torch__.evil\nModule\n)\x81}(X\x0c\x00\x00\x00__setstate__cos\nmkdir\nub."
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("evil/data.pkl", body)
        archive.writestr("evil/constants.pkl", b"\x80\x02).")
        archive.writestr("evil/version", "3\n")
    with pytest.raises(CheckpointError, match="could run code"):
        read_foreign(path, FACTS)


def test_a_torchscript_bomb_is_refused(torch, tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/constants.pkl", b"x")
        archive.writestr("bomb/data/0", bytes(10_000_000))
    with pytest.raises(CheckpointError, match="unpacks to more than it holds"):
        read_foreign(path, FACTS)


def test_values_that_contain_each_other_end(torch, tmp_path):
    loop, twice = {}, {}
    loop["a"] = loop["b"] = loop
    for _ in range(60):
        twice = {"a": twice, "b": twice}
    for name, value in {"loop.pt": loop, "twice.pt": twice}.items():
        torch.save(value, tmp_path / name)
        with pytest.raises(CheckpointError, match="holds more than 100000 values"):
            read_foreign(tmp_path / name, FACTS)


def test_torchscript_attributes_that_are_no_tensors(torch, tmp_path):
    class Small(torch.nn.Module):
        sizes: list[int]

        def __init__(self):
            super().__init__()
            self.sizes = [1, 2]
            self.logit_scale = torch.nn.Parameter(torch.tensor(3.0))

        def forward(self, x):
            return x * self.logit_scale + len(self.sizes)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Small()), str(tmp_path / "small.pt"))
    assert read_pickled(tmp_path / "small.pt") == {"logit_scale": 3}


@pytest.mark.parametrize(
    "data", [b"", b"PK\x03\x04", b"\x80\x02", b"not a pickle", b"\x80\x02K\x01."]
)
def test_damaged_pickles(torch, tmp_path, data):
    path = tmp_path / "damaged.pt"
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        read_foreign(path, FACTS)


def test_without_torch(tmp_path, monkeypatch):
    def require(module, *, extra):
        raise MissingExtra(f"pip install 'keshin[{extra}]'")

    monkeypatch.setattr("keshin.core.foreign.pickled.require", require)
    (tmp_path / "tiny.pt").write_bytes(b"")
    with pytest.raises(MissingExtra, match="train"):
        read_foreign(tmp_path / "tiny.pt", FACTS)


# --- OpenCLIP ------------------------------------------------------------------------------------


def open_clip_config(kind="vit"):
    resnet = {"layers": [1, 2, 1, 1], "width": 4, "patch_size": None}
    vit = {"layers": 2, "width": 16, "patch_size": 16}
    return {
        "model_cfg": {
            "embed_dim": 12,
            "quick_gelu": True,
            "vision_cfg": {
                "image_size": 32,
                "head_width": 4,
                **(vit if kind == "vit" else resnet),
            },
            "text_cfg": {
                "context_length": 77,
                "vocab_size": VOCABULARY,
                "width": 8,
                "heads": 2,
                "layers": 2,
            },
        },
        "preprocess_cfg": {"mean": OPENAI_FACTS["mean"], "std": OPENAI_FACTS["std"]},
    }


def write_open_clip(folder, config, table=OPEN_CLIP_KEYS, kind="vit"):
    folder.mkdir(exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    weights = folder / "open_clip_model.safetensors"
    weights.unlink(missing_ok=True)
    write_tensors(weights, table.export_tensors(made(TINY[kind])))
    return folder


def labelled(config, folder, layout):
    return msgspec.structs.replace(
        config, name=folder.name, source=f"{folder.name}, {layout} layout"
    )


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize(
    "table", [OPEN_CLIP_KEYS, OPEN_CLIP_CUSTOM_TEXT_KEYS], ids=lambda t: t.layout
)
def test_open_clip_folder(tmp_path, kind, table):
    folder = write_open_clip(tmp_path / "oc", open_clip_config(kind), table, kind)
    model = read_foreign(folder)
    assert model.config == labelled(TINY[kind], folder, table.layout)
    same(dict(model.tensors), made(TINY[kind]))


def changed(config, path, value):
    *parents, last = path.split("/")
    part = config
    for name in parents:
        part = part[name]
    part[last] = value
    return config


@pytest.mark.parametrize(
    ("path", "value", "fact"),
    [
        (
            "model_cfg/quick_gelu",
            False,
            lambda c: c.vision.activation == c.text.activation == "gelu",
        ),
        ("model_cfg/vision_cfg/head_width", 8, lambda c: c.vision.heads == 2),
        (
            "model_cfg/vision_cfg/norm_kwargs",
            {"eps": 1e-6},
            lambda c: c.vision.layer_norm_eps == 1e-6,
        ),
        ("model_cfg/text_cfg/norm_kwargs", {"eps": 1e-6}, lambda c: c.text.layer_norm_eps == 1e-6),
        ("model_cfg/text_cfg/no_causal_mask", True, lambda c: not c.text.causal),
        ("model_cfg/text_cfg/pool_type", "last", lambda c: c.text.pool == "last"),
        ("preprocess_cfg/resize_mode", "squash", lambda c: c.preprocess.resize == "squash"),
        (
            "preprocess_cfg/interpolation",
            "bilinear",
            lambda c: c.preprocess.interpolation == "bilinear",
        ),
        (
            "preprocess_cfg/interpolation",
            "random",
            lambda c: c.preprocess.interpolation == "bicubic",
        ),
        ("preprocess_cfg/mean", 0.5, lambda c: c.preprocess.mean == (0.5, 0.5, 0.5)),
        ("preprocess_cfg/size", [32, 32], lambda c: c.preprocess.size == (32, 32)),
        ("model_cfg/custom_text", True, lambda c: c.text.causal),
        ("model_cfg/vision_cfg/timm_model_name", None, lambda c: c.vision.layers == 2),
        ("model_cfg/text_cfg/tokenizer_kwargs", {}, lambda c: c.text.layers == 2),
    ],
)
def test_open_clip_options_that_change_answers(tmp_path, path, value, fact):
    config = changed(open_clip_config(), path, value)
    assert fact(read_foreign(write_open_clip(tmp_path / "oc", config)).config)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model_cfg/text_cfg/hf_model_name", "roberta-base"),
        ("model_cfg/text_cfg/hf_tokenizer_name", "bert-base-uncased"),
        ("model_cfg/text_cfg/tokenizer_kwargs", {"clean": "canonicalize"}),
        ("model_cfg/text_cfg/embed_cls", True),
        ("model_cfg/text_cfg/pool_type", "eos"),
        ("model_cfg/text_cfg/act_kwargs", {"approximate": "tanh"}),
        ("model_cfg/text_cfg/norm_kwargs", {"elementwise_affine": False}),
        ("model_cfg/vision_cfg/timm_model_name", "convnext_base"),
        ("model_cfg/vision_cfg/no_ln_pre", True),
        ("model_cfg/vision_cfg/pool_type", "avg"),
        ("model_cfg/vision_cfg/attentional_pool", True),
        ("model_cfg/vision_cfg/image_size", [32, 64]),
        ("model_cfg/vision_cfg/width", "32"),
        ("model_cfg/vision_cfg/head_width", 0),
        ("model_cfg/vision_cfg/patch_size", None),
        ("model_cfg/vision_cfg/new_trick", 1),
        ("model_cfg/multimodal_cfg", {}),
        ("model_cfg/vision_cfg", None),
        ("preprocess_cfg/resize_mode", "longest"),
        ("preprocess_cfg/interpolation", "area"),
        ("preprocess_cfg/mode", "L"),
        ("preprocess_cfg/size", 64),
        ("preprocess_cfg", 3),
        ("preprocess_cfg/mean", [1, 2]),
    ],
)
def test_open_clip_options_that_are_not_supported_are_named(tmp_path, path, value):
    folder = write_open_clip(tmp_path / "oc", changed(open_clip_config(), path, value))
    with pytest.raises(CheckpointError, match=path.split("/")[-1]):
        read_foreign(folder)


def test_open_clip_does_not_guess_mean_and_std(tmp_path):
    config = open_clip_config()
    del config["preprocess_cfg"]
    folder = write_open_clip(tmp_path / "oc", config)
    with pytest.raises(CheckpointError, match=r"\n  mean: .*\n  std: "):
        read_foreign(folder)
    facts = {name: OPENAI_FACTS[name] for name in ("mean", "std")}
    assert read_foreign(folder, facts).config == labelled(
        TINY["vit"], folder, OPEN_CLIP_KEYS.layout
    )
    with pytest.raises(CheckpointError, match="facts= says that activation is 'gelu'"):
        read_foreign(folder, {**facts, "activation": "gelu"})


# --- transformers --------------------------------------------------------------------------------


def transformers_files():
    both = {"num_hidden_layers": 2, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
    text = {**both, "hidden_size": 8, "intermediate_size": 32, "num_attention_heads": 2}
    vision = {**both, "hidden_size": 16, "intermediate_size": 64, "num_attention_heads": 4}
    return {
        "config.json": {
            "model_type": "clip",
            "projection_dim": 12,
            "text_config": {**text, "projection_dim": 512, "eos_token_id": 49407},
            "vision_config": {**vision, "projection_dim": 512, "image_size": 32, "patch_size": 16},
        },
        "preprocessor_config.json": {
            "do_resize": True,
            "do_center_crop": True,
            "do_normalize": True,
            "size": {"shortest_edge": 32},
            "crop_size": {"height": 32, "width": 32},
            "resample": 3,
            "image_mean": OPENAI_FACTS["mean"],
            "image_std": OPENAI_FACTS["std"],
        },
    }


@pytest.fixture(scope="module")
def vocabulary(one_tokenizer):
    return json.dumps(one_tokenizer.backend.get_vocab())


@pytest.fixture
def write_transformers(tmp_path, vocabulary):
    def write(files, tokenizer=True):
        folder = tmp_path / "hf"
        folder.mkdir(exist_ok=True)
        if tokenizer:
            (folder / "vocab.json").write_text(vocabulary)
        for name, content in files.items():
            (folder / name).write_text(json.dumps(content))
        (folder / "model.safetensors").unlink(missing_ok=True)
        write_tensors(
            folder / "model.safetensors", TRANSFORMERS_KEYS.export_tensors(made(TINY["vit"]))
        )
        return folder

    return write


def test_transformers_folder(write_transformers):
    folder = write_transformers(transformers_files())
    model = read_foreign(folder)
    assert model.config == labelled(TINY["vit"], folder, "transformers")
    same(dict(model.tensors), made(TINY["vit"]))
    assert list(model.tokenizer(["a cat"]).ids[0]) == [49406, 320, 2368, 49407]


@pytest.mark.parametrize(
    ("path", "value", "fact"),
    [
        ("config.json/text_config/hidden_act", "gelu", lambda c: c.text.activation == "gelu"),
        (
            "config.json/vision_config/layer_norm_eps",
            1e-6,
            lambda c: c.vision.layer_norm_eps == 1e-6,
        ),
        ("config.json/text_config/eos_token_id", 2, lambda c: c.text.pool == "end-of-text"),
        (
            "config.json/vision_config/image_size",
            [32, 32],
            lambda c: c.vision.image_size == (32, 32),
        ),
        ("config.json/vision_config/patch_size", [16, 16], lambda c: c.vision.patch_size == 16),
        (
            "config.json/text_config_dict",
            {
                "hidden_size": 8,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "intermediate_size": 32,
            },
            lambda c: c.text.heads == 4,
        ),
        ("preprocessor_config.json/size", 32, lambda c: c.preprocess.resize == "shorter-side"),
        ("preprocessor_config.json/crop_size", 32, lambda c: c.preprocess.resize == "shorter-side"),
        (
            "preprocessor_config.json/size",
            {"height": 32, "width": 32},
            lambda c: c.preprocess.resize == "squash",
        ),
        (
            "preprocessor_config.json/resample",
            2,
            lambda c: c.preprocess.interpolation == "bilinear",
        ),
        (
            "preprocessor_config.json/image_mean",
            [0.5] * 3,
            lambda c: c.preprocess.mean == (0.5, 0.5, 0.5),
        ),
    ],
)
def test_transformers_facts(write_transformers, path, value, fact):
    assert fact(read_foreign(write_transformers(changed(transformers_files(), path, value))).config)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("config.json/model_type", "siglip2", "model_type"),
        ("config.json/text_config/hidden_act", "silu", "activation"),
        ("config.json/text_config/eos_token_id", 7, "feature of a text at the token 7"),
        ("config.json/text_config/hidden_size", "8", "hidden_size"),
        ("config.json/projection_dim", 512, "text_projection"),
        ("config.json/vision_config/num_channels", 1, "channels"),
        ("config.json/vision_config/patch_size", [16, 8], "patches"),
        (
            "config.json/vision_config/num_hidden_layers",
            3,
            r"lacks 'vision_model\.encoder\.layers\.2",
        ),
        (
            "config.json/vision_config/num_hidden_layers",
            1,
            r"no use for 'vision_model\.encoder\.layers\.1",
        ),
        ("preprocessor_config.json/size", {"shortest_edge": 40}, "crop_size"),
        ("preprocessor_config.json/size", {"longest_edge": 32}, "size"),
        ("preprocessor_config.json/do_center_crop", False, "do_center_crop"),
        ("preprocessor_config.json/do_normalize", False, "do_normalize"),
        ("preprocessor_config.json/rescale_factor", 1 / 127.5, "rescale"),
        ("preprocessor_config.json/resample", 4, "interpolation"),
        ("preprocessor_config.json/image_std", "x", "image_std"),
    ],
)
def test_transformers_facts_that_are_not_supported_are_named(
    write_transformers, path, value, named
):
    folder = write_transformers(changed(transformers_files(), path, value))
    with pytest.raises(CheckpointError, match=named):
        read_foreign(folder)


def test_transformers_preprocessing_for_other_sizes_than_the_tower(write_transformers):
    files = transformers_files()
    files["preprocessor_config.json"] |= {"size": 64, "crop_size": 64}
    with pytest.raises(CheckpointError, match="the image tower sees"):
        read_foreign(write_transformers(files))


@pytest.mark.parametrize(
    ("field", "facts"),
    [
        ("image_mean", ["mean"]),
        ("image_std", ["std"]),
        ("resample", ["interpolation"]),
        ("size", ["resize"]),
    ],
)
def test_transformers_picture_facts_are_not_guessed(write_transformers, field, facts):
    files = transformers_files()
    del files["preprocessor_config.json"][field]
    folder = write_transformers(files)
    with pytest.raises(CheckpointError, match="".join(f"\n  {fact}: " for fact in facts)):
        read_foreign(folder)
    stated = {fact: OPENAI_FACTS[fact] for fact in facts}
    assert read_foreign(folder, stated).config == labelled(TINY["vit"], folder, "transformers")


def test_transformers_without_preprocessor_or_tokenizer(write_transformers):
    files = transformers_files()
    del files["preprocessor_config.json"]
    folder = write_transformers(files, tokenizer=False)
    with pytest.raises(CheckpointError, match=r"\n  tokenizer: 'clip'"):
        read_foreign(folder)
    with pytest.raises(
        CheckpointError, match=r"\n  resize: .*\n  interpolation: .*\n  mean: .*\n  std: "
    ):
        read_foreign(folder, {"tokenizer": "clip"})
    assert read_foreign(
        folder,
        {n: OPENAI_FACTS[n] for n in ("tokenizer", "mean", "std", "resize", "interpolation")},
    )


def test_transformers_processor_config(write_transformers):
    files = transformers_files()
    files["processor_config.json"] = {"image_processor": files.pop("preprocessor_config.json")}
    folder = write_transformers(files)
    assert read_foreign(folder).config == labelled(TINY["vit"], folder, "transformers")


def test_transformers_tokenizers(write_transformers, one_tokenizer):
    folder = write_transformers(transformers_files())
    (folder / "vocab.json").write_text('{"a": 0}')
    with pytest.raises(CheckpointError, match="not OpenAI's vocabulary"):
        read_foreign(folder)
    one_tokenizer.save(folder / "tokenizer.json")  # comes first
    model = read_foreign(folder)
    assert model.config == labelled(TINY["vit"], folder, "transformers")
    assert list(model.tokenizer(["a cat"]).ids[0]) == [49406, 320, 2368, 49407]


def test_transformers_tokenizer_of_another_kind(write_transformers):
    files = transformers_files() | {
        "tokenizer.json": {"model": {"type": "WordPiece", "vocab": {"a": 0}}}
    }
    with pytest.raises(CheckpointError, match="not a tokenizer of CLIP's kind"):
        read_foreign(write_transformers(files, tokenizer=False))


def test_transformers_weights_in_parts(write_transformers):
    folder = write_transformers(transformers_files())
    (folder / "model.safetensors").unlink()
    whole = TRANSFORMERS_KEYS.export_tensors(made(TINY["vit"]))
    names = sorted(whole)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for part, held in parts.items():
        write_tensors(folder / part, {name: whole[name] for name in held})
    places = {name: part for part, held in parts.items() for name in held}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": places}))
    same(dict(read_foreign(folder).tensors), made(TINY["vit"]))
    index.write_text(json.dumps({"weight_map": {"x": "../a.safetensors"}}))
    with pytest.raises(CheckpointError, match="outside its own folder"):
        read_foreign(folder)


def test_transformers_position_ids_of_old_files_are_no_weights():
    ids = {"text_model.embeddings.position_ids": np.arange(77)[None]}
    whole = TRANSFORMERS_KEYS.export_tensors(made(TINY["vit"]))
    same(TRANSFORMERS_KEYS.import_tensors({**whole, **ids}, origin="test"), made(TINY["vit"]))


# --- converting ----------------------------------------------------------------------------------


def test_convert(tmp_path, write_transformers):
    folder = write_transformers(transformers_files())
    checkpoint = load_checkpoint(convert(folder, tmp_path / "converted"))
    assert checkpoint.config == labelled(TINY["vit"], folder, "transformers")
    for name, array in made(TINY["vit"]).items():
        np.testing.assert_array_equal(checkpoint.tensors.read(name), array)
    assert checkpoint.tokenizer().vocab_size == VOCABULARY


def test_open_clip_comes_before_transformers(tmp_path, write_transformers):
    folder = write_transformers(transformers_files())
    write_open_clip(folder, open_clip_config())
    assert "OpenCLIP" in read_foreign(folder).config.source


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"model_cfg": []}'])
def test_damaged_json(tmp_path, data):
    for name in ("open_clip_config.json", "config.json"):
        folder = tmp_path / name.split(".")[0]
        folder.mkdir()
        (folder / name).write_bytes(data)
        with pytest.raises(CheckpointError):
            read_foreign(folder)
