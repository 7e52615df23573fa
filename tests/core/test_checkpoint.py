"""Checkpoints are written whole, read back the same, and refused when their parts disagree."""

import errno
import math
import os
import shutil
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from keshin.core import checkpoint as module
from keshin.core import writing
from keshin.core.checkpoint import (
    FACTS,
    TOKENIZER,
    WEIGHTS,
    TensorFile,
    expected_shapes,
    load_checkpoint,
    save_checkpoint,
)
from keshin.core.tensors import write_tensors
from keshin.core.tokenizer import Tokenizer
from keshin.errors import CheckpointError

change = msgspec.structs.replace


@pytest.fixture
def parts(tiny_checkpoint):
    """What ``save_checkpoint`` takes: facts, tensors, tokenizer."""
    tensors = tiny_checkpoint.tensors
    arrays = {name: tensors.read(name) for name in tensors.infos}
    return tiny_checkpoint.config, arrays, tiny_checkpoint.tokenizer()


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_round_trip(tmp_path, parts):
    config, tensors, tokenizer = parts
    again = load_checkpoint(
        save_checkpoint(tmp_path / "deep" / "model", config, tensors, tokenizer)
    )
    assert again.config == config
    assert again.tensors.infos.keys() == expected_shapes(config).keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(again.tensors.read(name), value)
    text = ["a photo of a cat.", "猫の写真"]
    np.testing.assert_array_equal(again.tokenizer()(text).ids, tokenizer(text).ids)
    assert again.logit_scale == pytest.approx(math.exp(tensors["logit_scale"]))
    assert os.listdir(tmp_path / "deep") == ["model"]
    assert sorted(os.listdir(tmp_path / "deep" / "model")) == sorted([FACTS, TOKENIZER, WEIGHTS])


def test_saving_twice_gives_the_same_bytes(tmp_path, parts):
    first = save_checkpoint(tmp_path / "a", *parts)
    second = save_checkpoint(tmp_path / "b", *parts)
    assert contents(first) == contents(second)
    assert load_checkpoint(first).fingerprint == load_checkpoint(second).fingerprint


def test_the_safetensors_library_reads_what_is_written(tmp_path, parts):
    folder = save_checkpoint(tmp_path / "model", *parts)
    for name, value in load_file(folder / WEIGHTS).items():
        np.testing.assert_array_equal(value, parts[1][name])


@pytest.mark.parametrize("part", [FACTS, TOKENIZER, WEIGHTS])
def test_the_fingerprint_sees_every_file(tmp_path, tiny_folder, part):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    before = load_checkpoint(folder).fingerprint
    data = bytearray((folder / part).read_bytes())
    place = data.rfind(b"\n") if part != WEIGHTS else len(data) - 1
    data[place : place + 1] = b"\n\n" if part == FACTS else bytes([data[place] ^ 1])
    if part == TOKENIZER:
        data = (folder / part).read_bytes() + b"\n"
    (folder / part).write_bytes(data)
    assert load_checkpoint(folder).fingerprint != before


def test_reading_does_not_read_the_tokenizer(tmp_path, tiny_folder):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    (folder / TOKENIZER).write_text("{}")
    loaded = load_checkpoint(folder)
    with pytest.raises(CheckpointError, match=TOKENIZER):
        loaded.tokenizer()


def test_tensors_are_mapped(tmp_path, tiny_checkpoint):
    array = tiny_checkpoint.tensors.read("visual.proj")
    assert not array.flags.owndata
    assert not array.flags.writeable
    assert isinstance(array.base, np.memmap)
    assert tiny_checkpoint.tensors.read_float32("visual.proj").base is array.base


def test_offsets_point_at_the_numbers(tiny_checkpoint):
    data = tiny_checkpoint.tensors.path.read_bytes()
    for name, info in tiny_checkpoint.tensors.infos.items():
        stored = np.frombuffer(data, "<f4", info.nbytes // 4, info.offset).reshape(info.shape)
        np.testing.assert_array_equal(stored, tiny_checkpoint.tensors.read(name))


def test_the_first_tensor_is_aligned(tiny_checkpoint):
    assert min(info.offset for info in tiny_checkpoint.tensors.infos.values()) % 64 == 0


def test_half_precision_is_kept_and_widened(tmp_path, parts):
    config, tensors, tokenizer = parts
    halves = {name: value.astype(np.float16) for name, value in tensors.items()}
    loaded = load_checkpoint(save_checkpoint(tmp_path / "model", config, halves, tokenizer))
    assert loaded.tensors.infos["visual.proj"].dtype == "F16"
    assert loaded.tensors.read("visual.proj").dtype == np.float16
    np.testing.assert_array_equal(
        loaded.tensors.read_float32("visual.proj"), halves["visual.proj"].astype(np.float32)
    )


def test_bfloat16_is_read_without_a_bfloat16_type(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_torch

    value = torch.tensor([[1.0, -2.5], [3e38, 1e-40]]).bfloat16()
    save_torch({"x": value}, tmp_path / "x.safetensors")
    read = TensorFile(tmp_path / "x.safetensors").read("x")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, value.float().numpy())


@pytest.mark.parametrize("value", [np.float32(3), np.zeros((0, 4), np.float32), np.eye(3)[:, ::2]])
def test_any_array_is_written_as_it_is(tmp_path, value):
    value = np.asarray(value, np.float16)
    write_tensors(tmp_path / "x", {"x": value, "y": np.float32([[1, 2]]).T})
    read = TensorFile(tmp_path / "x")
    np.testing.assert_array_equal(read.read("x"), value)
    np.testing.assert_array_equal(load_file(tmp_path / "x")["x"], value)


# replacing an older checkpoint --------------------------------------------------------------------


@pytest.fixture
def older(tmp_path, parts):
    config, tensors, tokenizer = parts
    return save_checkpoint(tmp_path / "model", change(config, name="older"), tensors, tokenizer)


@pytest.mark.parametrize("can_exchange", [True, False])
def test_an_older_checkpoint_is_replaced(tmp_path, parts, older, monkeypatch, can_exchange):
    if not can_exchange:
        monkeypatch.setattr(writing, "_exchange", lambda new, old: False)
    save_checkpoint(older, *parts)
    assert load_checkpoint(older).config.name == parts[0].name
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.skipif(sys.platform != "linux", reason="the exchange is tried on Linux")
def test_there_is_no_moment_without_a_checkpoint(tmp_path, older, parts, monkeypatch):
    def never(self, target):
        raise AssertionError(f"{self} was renamed to {target}")

    monkeypatch.setattr(Path, "rename", never)
    try:
        save_checkpoint(older, *parts)
    except AssertionError:
        pytest.skip("this file system cannot exchange two directories")
    assert load_checkpoint(older).config.name == parts[0].name


@pytest.mark.parametrize("step", ["write_tensors", "_write", "flush_folder", "replace_folder"])
def test_a_full_disk_leaves_the_older_one(tmp_path, older, parts, monkeypatch, step):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = contents(older)
    monkeypatch.setattr(module, step, full)
    with pytest.raises(CheckpointError, match=r"model: No space left.* unchanged"):
        save_checkpoint(older, *parts)
    assert contents(older) == before
    assert os.listdir(tmp_path) == ["model"]


def test_the_older_one_comes_back_if_the_new_one_cannot_take_its_place(older, parts, monkeypatch):
    original, before = Path.rename, contents(older)

    def rename(self, target):
        if self.suffix == ".tmp":
            raise OSError(errno.EIO, "Input/output error")
        return original(self, target)

    monkeypatch.setattr(writing, "_exchange", lambda new, old: False)
    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(CheckpointError, match="Input/output error"):
        save_checkpoint(older, *parts)
    assert contents(older) == before
    assert os.listdir(older.parent) == ["model"]


def test_an_interruption_leaves_the_older_one(tmp_path, older, parts, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    before = contents(older)
    monkeypatch.setattr(module, "write_tensors", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(older, *parts)
    assert contents(older) == before
    assert os.listdir(tmp_path) == ["model"]


def test_through_a_link_the_directory_behind_it_is_replaced(tmp_path, older, parts):
    (tmp_path / "latest").symlink_to("model")
    save_checkpoint(tmp_path / "latest", *parts)
    assert (tmp_path / "latest").is_symlink()
    assert load_checkpoint(older).config.name == parts[0].name


def test_other_files_are_not_swept_away(tmp_path, parts):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"'notes\.txt'.*directory of its own"):
        save_checkpoint(tmp_path, *parts)
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def test_a_file_is_not_replaced_by_a_directory(tmp_path, parts):
    (tmp_path / "model").write_text("mine")
    with pytest.raises(CheckpointError, match="is a file"):
        save_checkpoint(tmp_path / "model", *parts)


def test_an_empty_directory_is_filled(tmp_path, parts):
    (tmp_path / "model").mkdir()
    assert load_checkpoint(save_checkpoint(tmp_path / "model", *parts)).config == parts[0]


# what is refused before anything is written -------------------------------------------------------


def assert_refused(folder, config, tensors, tokenizer, match):
    with pytest.raises(CheckpointError, match=match):
        save_checkpoint(folder / "model", config, tensors, tokenizer)
    assert list(folder.iterdir()) == []


def test_wrong_tensors_are_not_written(tmp_path, parts):
    config, tensors, tokenizer = parts
    lacking = {name: value for name, value in tensors.items() if name != "visual.proj"}
    assert_refused(tmp_path, config, lacking, tokenizer, r"lacks 'visual\.proj'")
    extra = {**tensors, "surplus": np.zeros(1, np.float32)}
    assert_refused(tmp_path, config, extra, tokenizer, "also holds 'surplus'")
    turned = {**tensors, "visual.proj": tensors["visual.proj"].T}
    assert_refused(tmp_path, config, turned, tokenizer, r"'visual\.proj' is \[16, 32\].*\[32, 16\]")
    double = {**tensors, "visual.proj": tensors["visual.proj"].astype(np.float64)}
    assert_refused(tmp_path, config, double, tokenizer, r"'visual\.proj' is float64.*float32")


def test_contradictory_facts_are_not_written(tmp_path, parts):
    config, tensors, tokenizer = parts
    broken = msgspec.structs.replace(config.vision, layers=0)
    assert_refused(tmp_path, change(config, vision=broken), tensors, tokenizer, "layers")
    other = change(config, tokenizer=change(config.tokenizer, pad=1))
    assert_refused(tmp_path, other, tensors, tokenizer, "pad 0.*1")
    shorter = Tokenizer(tokenizer.backend, tokenizer.facts, tokenizer.context_length - 1)
    assert_refused(tmp_path, config, tensors, shorter, r"23 tokens.*context_length 24")


def test_a_tokenizer_of_another_model_is_not_written(tmp_path, parts):
    config, tensors, tokenizer = parts
    assert_refused(tmp_path, config, tensors, Tokenizer.clip(24), r"49408 tokens.*530")
    swapped = change(config.tokenizer, start=config.tokenizer.end, end=config.tokenizer.start)
    other = Tokenizer(tokenizer.backend, swapped, tokenizer.context_length)
    facts = change(config, tokenizer=swapped)
    assert_refused(tmp_path, facts, tensors, other, r"<\|startoftext\|> the id 528.*529")


def test_saved_by_the_safetensors_library_is_read(tmp_path, tiny_folder, parts):
    folder = shutil.copytree(tiny_folder, tmp_path / "model")
    save_file({name: np.array(value) for name, value in parts[1].items()}, folder / WEIGHTS)
    loaded = load_checkpoint(folder)
    np.testing.assert_array_equal(loaded.tensors.read("visual.proj"), parts[1]["visual.proj"])
