"""Data sets that try to run something, to write elsewhere, to fill the disk, or that are cut off."""

import contextlib
import gzip
import io
import json
import os
import pickle
import stat
import struct
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keshin.errors import DataError
from keshin.evaluate.sets import unpack as unpacking
from keshin.evaluate.sets.datasets import open_dataset
from keshin.evaluate.sets.readers import scenes
from keshin.evaluate.sets.readers.arrays import idx
from keshin.evaluate.sets.readers.plain_pickle import read_plain_pickle
from keshin.evaluate.sets.unpack import unpack
from miniatures import CIFAR10, MINIATURES, cifar_rows, idx_bytes, write


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/keshin-was-here-and-should-not",)


EVIL = [pickle.dumps({"data": Evil()}, protocol) for protocol in range(6)] + [
    b"cos\nsystem\n(S'true'\ntR.",  # the oldest form
    b"(S'true'\nios\nsystem\n.",  # INST
    pickle.dumps(np.array([Evil()], object), 2),
    pickle.dumps(np.dtype("O"), 2),
    pickle.dumps(io.BytesIO(b""), 4),
    pickle.dumps(len, 4),
    b"\x80\x02}q\x00(X\x04\x00\x00\x00dataq\x01cbuiltins\neval\nq\x02X\x01\x00\x00\x001\x85R",
    b"P1\n.", b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.", b"\x82\x01.",  # persistent, extension
]  # fmt: skip


@pytest.mark.parametrize("data", EVIL, ids=range(len(EVIL)))
def test_a_pickle_that_calls_is_not_run(data, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "system", lambda _: pytest.fail("it ran"))
    path = tmp_path / "test_batch"
    path.write_bytes(data)
    with pytest.raises(DataError):
        read_plain_pickle(path)


def test_a_call_is_named(tmp_path):
    path = tmp_path / "b"
    path.write_bytes(EVIL[2])
    with pytest.raises(DataError, match=r"holds a call of (posix|nt|os)\.system.*It was not run"):
        read_plain_pickle(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_pickles_are_sentences(tmp_path_factory, data):
    whole = pickle.dumps(
        {b"data": cifar_rows([1]), "labels": [1], "x": (1, None, True, "a")},
        data.draw(st.sampled_from([0, 2, 4])),
    )
    place = data.draw(st.integers(0, len(whole) - 1))
    broken = (
        whole[:place]
        if data.draw(st.booleans())
        else whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :]
    )
    path = tmp_path_factory.mktemp("p") / "b"
    path.write_bytes(broken)
    with contextlib.suppress(DataError):  # and nothing else
        read_plain_pickle(path)


def python_version(root, protocol, bytes_keys):
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    key = (lambda text: text.encode()) if bytes_keys else str
    meta = {key("label_names"): [key(n) for n in CIFAR10], key("num_vis"): 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol))
    batch = {key("batch_label"): key("testing batch 1 of 1"), key("labels"): [3, 8], key("data"): cifar_rows([3, 8]),
             key("filenames"): [key("a.png"), key("b.png")]}  # fmt: skip
    (folder / "test_batch").write_bytes(pickle.dumps(batch, protocol))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("bytes_keys", [False, True])
def test_cifars_python_version_is_read(tmp_path, protocol, bytes_keys):
    python_version(tmp_path / "cifar10", protocol, bytes_keys)
    data = open_dataset("cifar10", data_dir=tmp_path).labelled
    assert [data.names[t] for t in data.targets] == ["cat", "ship"]
    assert (
        np.asarray(data.pictures[1]) == cifar_rows([8]).reshape(3, 32, 32).transpose(1, 2, 0)
    ).all()


def test_cifars_files_as_python_2_wrote_them(tmp_path):
    """The words of the published files: BINSTRING, BINPUT, _reconstruct with the state of NumPy 1."""

    def text(s):
        return b"U" + bytes([len(s)]) + s

    pixels = cifar_rows([6]).tobytes()
    array = (b"cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85" + text(b"b") + b"\x87R("
             b"K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nq\x05" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|")
             + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<i", len(pixels)) + pixels + b"tb")  # fmt: skip
    batch = (
        b"\x80\x02}q\x01("
        + text(b"data")
        + array
        + text(b"labels")
        + b"]q\x06K\x06a"
        + text(b"filenames")
        + b"]"
        + text(b"a.png")
        + b"au."
    )
    meta = (
        b"\x80\x02}q\x01"
        + text(b"label_names")
        + b"]("
        + b"".join(text(n.encode()) for n in CIFAR10)
        + b"es."
    )
    folder = tmp_path / "cifar10/cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "test_batch").write_bytes(batch)
    (folder / "batches.meta").write_bytes(meta)
    assert pickle.loads(batch, encoding="bytes")[b"labels"] == [6]  # it is what Python reads
    data = open_dataset("cifar10", data_dir=tmp_path).labelled
    assert [data.names[t] for t in data.targets] == ["frog"]


def test_cifars_names_may_come_in_another_order(tmp_path):
    """The classes are matched by the names in the set's own meta file."""
    MINIATURES["cifar10"](tmp_path / "cifar10")
    other = ["truck", *CIFAR10[:9]]
    write(tmp_path / "cifar10/cifar-10-batches-bin/batches.meta.txt", "\n".join(other))
    data = open_dataset("cifar10", data_dir=tmp_path).labelled
    assert [data.names[t] for t in data.targets] == ["ship", "bird", "bird"]


# files that are cut off or lie


@pytest.mark.parametrize("cut", [2, 10, 17, 100, -1])
@pytest.mark.parametrize("zipped", [True, False])
def test_cut_idx(tmp_path, cut, zipped):
    data = idx_bytes(np.random.default_rng(0).integers(0, 255, (3, 28, 28)))
    path = tmp_path / ("x.gz" if zipped else "x")
    path.write_bytes(gzip.compress(data)[: cut - 1 if cut < 0 else cut] if zipped else data[:cut])
    with pytest.raises(DataError, match=r"cut off or damaged|should hold"):
        idx(path)


def test_idx_that_lies(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(struct.pack(">HBBIII", 0, 8, 3, 60000, 2**31, 28))
    with pytest.raises(DataError, match=r"no idx file"):
        idx(path)
    path.write_bytes(idx_bytes(np.ones((2, 4))) + b"more")
    with pytest.raises(DataError, match=r"holds more"):
        idx(path)
    path.write_bytes(struct.pack(">HBBI", 0, 13, 1, 4) + b"1234")  # floats
    with pytest.raises(DataError, match=r"no idx file"):
        idx(path)
    MINIATURES["mnist"](tmp_path / "mnist")
    (tmp_path / "mnist/t10k-labels-idx1-ubyte.gz").write_bytes(
        gzip.compress(idx_bytes(np.array([1])))
    )
    with pytest.raises(DataError, match=r"shape \(3, 28, 28\) and its labels \(1,\)"):
        open_dataset("mnist", data_dir=tmp_path)


@pytest.mark.parametrize(
    ("key", "file"),
    [
        ("cifar10", "cifar-10-batches-bin/test_batch.bin"),
        ("stl10", "stl10_binary/test_X.bin"),
        ("clevr_counts", "CLEVR_v1.0/scenes/CLEVR_val_scenes.json"),
        ("voc2007", "VOCdevkit/VOC2007/Annotations/000001.xml"),
        ("kitti", "training/label_2/000000.txt"),
        ("hateful_memes", "dev.jsonl"),
        ("flowers102", "imagelabels.mat"),
        ("stanford_cars", "cars_test_annos_withlabels.mat"),
        ("pcam", "camelyonpatch_level_2_split_test_x.h5"),
        ("fer2013", "fer2013.csv"),
    ],
)
@pytest.mark.parametrize("rest", [0.0, 0.6])
def test_cut_files_are_sentences(key, file, rest, tmp_path):
    if key == "pcam":
        pytest.importorskip("h5py")
    MINIATURES[key](tmp_path / key)
    path = tmp_path / key / file
    data = path.read_bytes()
    if key == "fer2013":  # cut within a row, or numbers beyond 255
        data = (
            data[: data.index(b"90 ") + 50] + b",PrivateTest"
            if rest
            else data.replace(b"90 ", b"900 ")
        )
    elif (key, rest) == ("kitti", 0.0):
        data = b"Car 1 2"
    else:
        data = data[: int(len(data) * rest)]
    path.write_bytes(data)
    split = "test"
    if key == "kitti":  # the split in which picture 0 is
        order = scenes._drawn_drives([f"2011_09_26_drive_{n:04d}_sync" for n in range(6)], 10, 123)
        split = next(s for s, drives in order.items() if "2011_09_26_drive_0000_sync" in drives)
    with pytest.raises(DataError):
        open_dataset(key, split, data_dir=tmp_path)


def test_annotations_with_entities_are_refused(tmp_path):
    MINIATURES["voc2007"](tmp_path / "voc2007")
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><annotation><object><name>&b;</name></object></annotation>'
    write(tmp_path / "voc2007/VOCdevkit/VOC2007/Annotations/000001.xml", bomb)
    with pytest.raises(DataError, match=r"defines entities"):
        open_dataset("voc2007", data_dir=tmp_path)


@pytest.mark.parametrize("name", ["../../secret", "a/../../secret", "..\\secret", "C:/secret"])
def test_lists_do_not_lead_out(tmp_path, name):
    MINIATURES["hateful_memes"](tmp_path / "hateful_memes")
    write(tmp_path / "hateful_memes/dev.jsonl", json.dumps({"img": name, "label": 0}))
    with pytest.raises(DataError, match=r"no path within"):
        open_dataset("hateful_memes", data_dir=tmp_path)


# archives


def tar_of(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for info, data in members:
            info = tarfile.TarInfo(info) if isinstance(info, str) else info
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data))
    return path


def link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def everything(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_good_tar(tmp_path, mode):
    archive = tar_of(
        tmp_path / f"a.tar{mode[1:].replace(':', '.')}", [("d/x.txt", b"1"), ("y.txt", b"2")], mode
    )
    into = tmp_path / "set/here"
    write(into / "y.txt", "old")
    write(into / "z.txt", "stays")
    assert unpack(archive, into) == []
    assert everything(into) == ["d/x.txt", "y.txt", "z.txt"]
    assert (into / "y.txt").read_text() == "2"
    assert not list((tmp_path / "set").glob("unpacking-*"))


@pytest.mark.parametrize(
    "name",
    ["../out.txt", "a/../../out.txt", "/tmp/out-of-keshin.txt", "..\\out.txt", "C:\\out.txt"],
)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_members_that_lead_out(tmp_path, name, kind):
    into, archive = tmp_path / "set/in", tmp_path / f"a.{kind}"
    if kind == "tar":
        tar_of(archive, [("good.txt", b"1"), (name, b"2")])
    else:
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("good.txt", "1")
            info = zipfile.ZipInfo("x")
            info.filename = name
            file.writestr(info, "2")
    before = everything(tmp_path)
    with pytest.raises(DataError, match=r"leads out|names a drive"):
        unpack(archive, into)
    assert everything(tmp_path) == before  # and nothing of the rest came either


def test_links_and_devices_are_left_out(tmp_path):
    fifo = tarfile.TarInfo("pipe")
    fifo.type = tarfile.FIFOTYPE
    archive = tar_of(tmp_path / "a.tar", [(link("evil", "/etc"), b""), (link("hard", "good.txt", tarfile.LNKTYPE), b""),
                                          (fifo, b""), ("good.txt", b"1"), ("evil/passwd", b"2")])  # fmt: skip
    assert unpack(archive, tmp_path / "in") == ["evil", "hard", "pipe"]
    assert everything(tmp_path / "in") == ["evil/passwd", "good.txt"]
    assert not (tmp_path / "in/evil").is_symlink()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        info = zipfile.ZipInfo("evil")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(info, "/etc")
        file.writestr("good.txt", "1")
    assert unpack(tmp_path / "a.zip", tmp_path / "zip") == ["evil"]
    assert everything(tmp_path / "zip") == ["good.txt"]


def test_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "SLACK", 1 << 16)
    zeros = bytes(8 << 20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", zeros)
    tar_of(tmp_path / "a.tgz", [("zeros", zeros)], "w:gz")
    (tmp_path / "a.bin.gz").write_bytes(gzip.compress(zeros))
    for name in ("a.zip", "a.tgz", "a.bin.gz"):
        with pytest.raises(DataError, match=r"more than 100 times as large"):
            unpack(tmp_path / name, tmp_path / "in")
    assert everything(tmp_path / "in") == []
    monkeypatch.setattr(unpacking, "MEMBERS", 3)
    tar_of(tmp_path / "many.tar", [(str(n), b"") for n in range(4)])
    with pytest.raises(DataError, match=r"more than 3 members"):
        unpack(tmp_path / "many.tar", tmp_path / "in")


def test_damaged_archives(tmp_path):
    whole = tar_of(tmp_path / "a.tgz", [("x", os.urandom(40000))], "w:gz").read_bytes()
    (tmp_path / "a.tgz").write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as file:
        file.writestr("x", os.urandom(40000))
    data = bytearray((tmp_path / "b.zip").read_bytes())
    data[2000] ^= 1
    (tmp_path / "b.zip").write_bytes(data)
    (tmp_path / "c.zip").write_bytes(b"<html>log in</html>")
    for name in ("a.tgz", "b.zip"):
        with pytest.raises(DataError, match=r"damaged"):
            unpack(tmp_path / name, tmp_path / "in")
    with pytest.raises(DataError, match=r"Was a web page saved"):
        unpack(tmp_path / "c.zip", tmp_path / "in")
    assert everything(tmp_path / "in") == []


def test_archives_within(tmp_path):
    inner = tar_of(tmp_path / "in.tgz", [("101/a.txt", b"1")], "w:gz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("c/in.tgz", inner)
    unpack(tmp_path / "a.zip", tmp_path / "in", inner=["c/in.tgz"])
    assert everything(tmp_path / "in") == ["101/a.txt"]
    with pytest.raises(DataError, match=r"has no c/other.tgz"):
        unpack(tmp_path / "a.zip", tmp_path / "in", inner=["c/other.tgz"])
