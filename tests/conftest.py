"""A tiny model with random weights, for every test that needs one."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import keshin
from keshin.core.checkpoint import expected_shapes, load_checkpoint, save_checkpoint
from keshin.core.config import (
    Config,
    PreprocessFacts,
    ScoreFacts,
    TextTransformer,
    TokenizerFacts,
    VisionTransformer,
)
from keshin.core.tokenizer import Tokenizer

SENTENCES = [
    "a photo of a cat.", "a photo of a dog.", "a photo of a red bird.", "a drawing of a cat.",
    "a green tree and a blue car.", "猫の写真", "犬の写真", "鳥の写真", "something else",
]  # fmt: skip
VOCABULARY = 530
CACHES = itertools.count()
CONTEXT = 24


def tiny_config(tokenizer, **changes):
    facts = {
        "format": 1,
        "name": "tiny",
        "embed_dim": 16,
        "vision": VisionTransformer(
            image_size=(16, 16),
            patch_size=8,
            width=32,
            layers=2,
            heads=2,
            mlp_width=64,
            activation="gelu",
            layer_norm_eps=1e-5,
        ),
        "text": TextTransformer(
            context_length=CONTEXT,
            vocab_size=tokenizer.vocab_size,
            width=32,
            layers=2,
            heads=2,
            mlp_width=64,
            activation="gelu",
            layer_norm_eps=1e-5,
            causal=True,
            pool="end-of-text",
        ),
        "tokenizer": TokenizerFacts(
            cleaning=tokenizer.facts.cleaning,
            start=tokenizer.facts.start,
            end=tokenizer.facts.end,
            pad=tokenizer.facts.pad,
        ),
        "preprocess": PreprocessFacts(
            size=(16, 16),
            resize="shorter-side",
            interpolation="bicubic",
            mean=(0.5, 0.5, 0.5),
            std=(0.25, 0.25, 0.25),
        ),
        "score": ScoreFacts(kind="softmax"),
    }
    return Config(**facts | changes)


def random_tensors(config, seed=0):
    generator = np.random.default_rng(seed)
    tensors = {}
    for name, shape in expected_shapes(config).items():
        values = generator.normal(0, 0.3, shape)
        if name.endswith(("ln_1.weight", "ln_2.weight", "ln_pre.weight", "ln_post.weight")):
            values = 1 + values / 3
        tensors[name] = np.asarray(values, np.float32)
    tensors["logit_scale"] = np.asarray(np.log(20), np.float32)
    return tensors


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Each test has a cache of its own, made only if it is used, and none has the user's."""
    name = f"{next(CACHES)}"
    monkeypatch.setenv("KESHIN_CACHE", str(tmp_path_factory.getbasetemp() / "caches" / name))


@pytest.fixture(scope="session")
def tiny_tokenizer():
    return Tokenizer.train(SENTENCES * 2, VOCABULARY, CONTEXT)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory, tiny_tokenizer):
    """The folder of a checkpoint with random weights."""
    config = tiny_config(tiny_tokenizer)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return save_checkpoint(folder, config, random_tensors(config), tiny_tokenizer)


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_folder):
    return load_checkpoint(tiny_folder)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder: red.png, deep/green.jpg, deep/青.png, broken.jpg and a text file."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "deep").mkdir()
    Image.new("RGB", (20, 30), (250, 10, 10)).save(folder / "red.png")
    Image.new("RGB", (30, 20), (10, 250, 10)).save(folder / "deep" / "green.jpg")
    Image.new("RGB", (24, 24), (10, 10, 250)).save(folder / "deep" / "青.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 this is no picture")
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture(scope="session")
def run_keshin():
    """Run the command in a process of its own; returns the completed process."""

    def run(*arguments, **options):
        environment = {**os.environ, "NO_COLOR": "1", "PYTHONWARNINGS": "error", "COLUMNS": "100"}
        environment.pop("KESHIN_DEBUG", None)
        root = str(Path(keshin.__file__).parents[1])  # the keshin that is tested, installed or not
        environment["PYTHONPATH"] = os.pathsep.join([root, environment.get("PYTHONPATH", "")])
        environment |= options.pop("environment", {})
        command = [sys.executable, "-m", "keshin", *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, timeout=120, env=environment, check=False, **options
        )

    return run
