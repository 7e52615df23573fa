"""Every known set is read from a miniature of its real layout; pictures of people's own, too."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keshin.core.pictures import open_picture
from keshin.errors import DataError
from keshin.evaluate.sets.catalogue import catalogue
from keshin.evaluate.sets.datasets import data_folder, open_captioned, open_dataset
from keshin.evaluate.sets.lazy import Lazy
from keshin.evaluate.sets.readers import READERS, scenes
from keshin.facts import datasets as facts
from keshin.facts import prompts
from miniatures import GREY, KITTI_BINS, MINIATURES, NEEDS, colour, encoded, save, write

EVERY = [
    key
    for key, row in facts.all_datasets().items()
    if row.task == "classification" and row.fetcher is None  # KaoKore: kaokore/test_known_set.py
]
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def mean_colour(picture):
    pixels = np.asarray(open_picture(picture).convert("RGB"), float)
    return pixels.reshape(-1, 3).mean(axis=0)


def test_every_known_set_has_a_miniature():
    assert set(MINIATURES) == set(EVERY)


@pytest.mark.parametrize("key", EVERY)
def test_a_set_is_read_in_the_order_of_the_prompts(key, tmp_path):
    """Names come in the prompts' order, and each picture shows the class that its target names."""
    pytest.importorskip(NEEDS.get(key, "numpy"))
    dataset = facts.get(key)
    for split, expected in MINIATURES[key](tmp_path / key).items():
        opened = open_dataset(key, split, data_dir=tmp_path)
        data = opened.labelled
        assert data.names == tuple(opened.labels.names) == facts.labels(dataset)
        assert list(opened.labels.names.values()) == list(facts.class_names(dataset))
        assert opened.templates == prompts.templates(dataset.prompts)
        assert opened.metric == dataset.metric
        assert len(data) == len(data.pictures) == len(expected)
        if data.targets.ndim == 2:
            continue
        said = [data.names[target] for target in data.targets]
        assert sorted(said) == sorted(expected)
        if key not in GREY:
            for row, target in enumerate(data.targets[:40]):
                near = 12 if dataset.extra == "video" else 1.5
                shown = np.abs(mean_colour(data.pictures[row]) - colour(int(target))).max()
                assert shown < near, (key, split, said[row], mean_colour(data.pictures[row]))


def test_voc_counts_what_is_not_difficult(tmp_path):
    expected = MINIATURES["voc2007"](tmp_path / "voc2007")["test"]
    data = open_dataset("voc2007", data_dir=tmp_path).labelled
    assert data.targets.shape == (3, 20)
    for row, shown in zip(data.targets, expected, strict=True):
        assert {data.names[c]: int(row[c]) for c in np.flatnonzero(row)} == shown


def test_mnist_pixels_and_stl_columns(tmp_path):
    MINIATURES["mnist"](tmp_path / "mnist")
    data = open_dataset("mnist", data_dir=tmp_path).labelled
    assert [int(np.asarray(p)[0, 0]) for p in data.pictures] == [140, 40, 20]
    assert data.pictures[0].shape == (28, 28)
    MINIATURES["stl10"](tmp_path / "stl10")
    first = np.asarray(open_dataset("stl10", data_dir=tmp_path).labelled.pictures[0])
    assert first.shape == (96, 96, 3)
    assert (first[60, 5] == 255).all()  # written by columns
    assert (first[5, 60] == colour(1)).all()


def test_kitti_is_drawn_by_drive_as_tensorflow_datasets_does(tmp_path):
    MINIATURES["kitti"](tmp_path / "kitti")
    parts = {s: open_dataset("kitti", s, data_dir=tmp_path) for s in ("train", "val", "test")}
    rows = {s: [int(Path(p).stem) for p in o.labelled.pictures] for s, o in parts.items()}
    assert sorted(row for part in rows.values() for row in part) == list(range(6))
    for split, opened in parts.items():
        assert [KITTI_BINS[row] for row in rows[split]] == opened.labelled.targets.tolist()
        assert opened.labelled.groups is not None
    np.random.seed(123)
    drives = [f"d{n:02d}" for n in range(40)]
    test = set(np.random.choice(drives, 4, replace=False))
    val = set(np.random.choice(sorted(set(drives) - test), 4, replace=False))
    found = scenes._drawn_drives(drives, 10, 123)
    assert (found["test"], found["val"]) == (test, val)


def test_groups_of_signs_and_of_videos(tmp_path):
    pytest.importorskip("av")
    MINIATURES["gtsrb"](tmp_path / "gtsrb")
    data = open_dataset("gtsrb", "train", data_dir=tmp_path).labelled
    assert data.groups.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    MINIATURES["ucf101"](tmp_path / "ucf101")
    assert open_dataset("ucf101", "test:3", data_dir=tmp_path).labelled.groups.tolist() == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]


def test_draws_do_not_overlap_and_do_not_depend_on_the_folder(tmp_path):
    for place in ("a", "b"):
        MINIATURES["resisc45"](tmp_path / place / "resisc45")
    parts = {
        (place, s): [Path(p).name for p in open_dataset("resisc45", s, data_dir=tmp_path / place).labelled.pictures]
        for place in "ab" for s in ("train", "val", "test")
    }  # fmt: skip
    assert all(parts["a", s] == parts["b", s] for s in ("train", "val", "test"))
    assert len({*parts["a", "train"], *parts["a", "val"], *parts["a", "test"]}) == 3 * 141
    data = READERS["folders"](
        tmp_path / "a/resisc45", "x", folder="NWPU-RESISC45", seed="resisc45", take=[140, -1]
    )
    assert len(data) == 3


def test_imagenets_flat_folder_needs_the_devkits_order(tmp_path):
    """The devkit numbers classes in another order than that of their WordNet ids."""
    savemat = pytest.importorskip("scipy.io").savemat
    own = facts.own_labels(facts.get("imagenet"))
    root = tmp_path / "imagenet"
    kit = root / "ILSVRC2012_devkit_t12/data"
    kit.mkdir(parents=True)
    rows = [(1, own[999]), (2, own[0]), (3, own[744])]
    savemat(
        kit / "meta.mat",
        {"synsets": np.array([[r] for r in rows], [("ILSVRC2012_ID", "O"), ("WNID", "O")])},
    )
    write(kit / "ILSVRC2012_validation_ground_truth.txt", "3\n1\n2\n")
    for number, place in enumerate((744, 999, 0), start=1):
        save(root / f"val/ILSVRC2012_val_{number:08d}.JPEG", place)
    opened = open_dataset("imagenet", data_dir=tmp_path)
    assert opened.labelled.targets.tolist() == [744, 999, 0]
    assert opened.labelled.names[744] == "missile (n04008634)"
    assert opened.labels.names["missile (n04008634)"] == ("missile",)
    assert "3 pictures here; its makers count 50,000" in opened.notes[0]


def test_rendered_sentences(tmp_path):
    root = tmp_path / "rendered_sst2"
    long = "a gorgeous , witty , seductive movie " * 12
    write(root / "test.tsv", f"sentence\tlabel\nan ugly mess .\t0\n{long}\t1\n")
    data = open_dataset("rendered_sst2", data_dir=tmp_path).labelled
    assert [data.names[t] for t in data.targets] == ["negative", "positive"]
    for picture in data.pictures:
        pixels = np.asarray(picture.convert("L"))
        assert pixels.shape == (448, 448)
        assert pixels.min() < 40
        edges = np.concatenate(
            [pixels[:8].ravel(), pixels[-8:].ravel(), pixels[:, :8].ravel(), pixels[:, -8:].ravel()]
        )
        assert edges.min() == 255  # nothing is cut off
    assert data.ids[0] == "an ugly mess ."


def test_a_broken_video_and_a_broken_picture_are_their_paths(tmp_path):
    pytest.importorskip("av")
    MINIATURES["ucf101"](tmp_path / "ucf101")
    path = tmp_path / "ucf101/UCF-101/ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi"
    path.write_bytes(path.read_bytes()[:300])
    data = open_dataset("ucf101", data_dir=tmp_path).labelled
    assert Path(data.pictures[0]) == path
    MINIATURES["objectnet"](tmp_path / "objectnet")
    broken = tmp_path / "objectnet/objectnet-1.0/images/wok/a.png"
    broken.write_bytes(b"x")
    data = open_dataset("objectnet", data_dir=tmp_path).labelled
    assert broken in list(data.pictures)


# pictures of people's own


def test_folders_csv_and_splits(tmp_path):
    for split in ("train", "test"):
        for name in ("hot_dog", "not_hot_dog"):
            save(tmp_path / f"f/{split}/{name}/1.png", 1)
    opened = open_dataset(tmp_path / "f")
    assert len(opened.labelled) == 2
    assert opened.dataset is None
    assert opened.templates is None
    assert dict(opened.labels.names) == {"hot dog": ("hot dog",), "not hot dog": ("not hot dog",)}
    with pytest.raises(DataError, match=r"splits test, train, and none is 'val'"):
        open_dataset(tmp_path / "f", "val")
    write(tmp_path / "t.csv", "file,label,split,group\nf/test/hot_dog/1.png,10,test,a\nf/train/hot_dog/1.png,9,test,b\n"
          "f/train/hot_dog/1.png,9,train,b\n")  # fmt: skip
    data = open_dataset(tmp_path / "t.csv").labelled
    assert data.names == ("9", "10")  # numbers by value
    assert data.targets.tolist() == [1, 0]
    assert data.groups.tolist() == [0, 1]
    with pytest.raises(DataError, match=r"no row of the split 'val'. It has: test, train"):
        open_dataset(tmp_path / "t.csv", "val")
    write(tmp_path / "u.csv", "what,label\n1.png,a\n")
    with pytest.raises(
        DataError, match=r"no column of paths of pictures under a usual name.*It has: what, label"
    ):
        open_dataset(tmp_path / "u.csv")
    write(tmp_path / "v.csv", "file,label\n../../etc/passwd,a\n")
    with pytest.raises(DataError, match=r"no path within"):
        open_dataset(tmp_path / "v.csv")


def parquet(path, columns, metadata=None, group=2):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata or {}), path, row_group_size=group)
    return path


def test_parquet_is_read_a_row_group_at_a_time(tmp_path):
    path = parquet(tmp_path / "x.parquet", {"image": [encoded(n) for n in range(7)], "label": [0, 1, 2, 0, 1, 2, 0],
                                            "name": ["a", "b", "c"] * 2 + ["a"], "key": [f"k{n}" for n in range(7)]})  # fmt: skip
    data = open_dataset(path).labelled
    assert isinstance(data.pictures, Lazy)
    assert data.names == ("a", "b", "c")
    assert data.ids[6] == "k6"
    assert [data.pictures[n] for n in (6, 0, 3)] == [encoded(n) for n in (6, 0, 3)]
    taken = data.take(np.array([5, 1]))
    assert isinstance(taken.pictures, Lazy)
    assert list(taken.pictures) == [encoded(5), encoded(1)]
    assert list(data.pictures[2:4]) == [encoded(2), encoded(3)]
    with pytest.raises(DataError, match=r"has no split|columns 'nothing'"):
        open_dataset(path, label="nothing")


def test_parquet_as_the_hub_writes_it(tmp_path):
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    meta = {"huggingface": json.dumps({"info": {"features": features}})}
    (tmp_path / "d/data").mkdir(parents=True)
    for split, labels in (("train", [0, 0]), ("test", [1, 0])):
        rows = [{"bytes": encoded(n), "path": f"{n}.png"} for n in labels]
        parquet(
            tmp_path / f"d/data/{split}-00000-of-00001.parquet",
            {"image": rows, "label": labels},
            meta,
        )
    data = open_dataset(tmp_path / "d").labelled
    assert [data.names[t] for t in data.targets] == ["dog", "cat"]
    assert list(data.pictures) == [encoded(1), encoded(0)]


def test_a_table_like_a_known_set(tmp_path):
    """The Parquet's own numbers or names become the prompts' order and names."""
    rows = {
        "image": [encoded(n) for n in range(3)],
        "label": [9, 0, 4],
        "label_name": ["nine", "zero", "four"],
    }
    opened = open_dataset(parquet(tmp_path / "m.parquet", rows), like="mnist")
    assert opened.labelled.targets.tolist() == [9, 0, 4]  # names "nine" are not known, numbers are
    rows = {"image": [encoded(n) for n in range(3)], "label": [4, 0, 9]}
    opened = open_dataset(parquet(tmp_path / "c.parquet", rows), like="cifar10")
    assert [opened.labelled.names[t] for t in opened.labelled.targets] == [
        "deer",
        "airplane",
        "truck",
    ]
    assert opened.metric == "accuracy"
    assert opened.templates == prompts.templates("cifar10")
    wnid = facts.own_labels(facts.get("tiny_imagenet"))[7]
    rows = {"image": [encoded(0)], "wnid": [wnid], "name": ["whatever"]}
    opened = open_dataset(parquet(tmp_path / "t.parquet", rows), like="tiny_imagenet")
    assert opened.labelled.targets.tolist() == [7]
    rows = {"image": [encoded(0)], "label": [12]}
    with pytest.raises(DataError, match=r"the label '12' in its column 'label'"):
        open_dataset(parquet(tmp_path / "w.parquet", rows), like="cifar10")
    rows = {"image": [encoded(0)], "label": [3]}
    with pytest.raises(DataError, match=r"the label '3'"):  # VOC's own order is not the prompts'
        open_dataset(parquet(tmp_path / "v.parquet", rows), like="voc2007")


def tar(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_webdataset_shards(tmp_path):
    for shard in range(2):
        tar(tmp_path / f"w/test/{shard}.tar", [(f"s{n}.{kind}", data) for n in range(2) for kind, data in
            (("webp", encoded(n, "WEBP")), ("cls", str(n).encode()))])  # fmt: skip
    write(tmp_path / "w/classnames.txt", "cat\ndog\n")
    data = open_dataset(tmp_path / "w").labelled
    assert data.names == ("cat", "dog")
    assert data.targets.tolist() == [0, 1, 0, 1]
    assert list(data.pictures) == [encoded(0, "WEBP"), encoded(1, "WEBP")] * 2
    assert data.ids[2] == "1.tar/s0"
    one = tar(tmp_path / "j.tar", [("a/x.png", encoded(0)), ("a/x.json", b'{"label": "dog"}'),
                                   ("a/y.png", encoded(1)), ("a/y.txt", "猫".encode()), ("lost.png", b"")])  # fmt: skip
    data = open_dataset(one).labelled
    assert data.names == ("dog", "猫")
    assert open_dataset(tmp_path / "w", like="rendered_sst2").labelled.targets.tolist() == [
        0,
        1,
        0,
        1,
    ]
    with pytest.raises(DataError, match=r"no class in its .json"):
        open_dataset(tar(tmp_path / "k.tar", [("x.png", encoded(0)), ("x.json", b"{}")]))
    cut = tmp_path / "cut.tar"
    cut.write_bytes(one.read_bytes()[:700])
    with pytest.raises(DataError):
        list(open_dataset(cut).labelled.pictures)


def test_captions(tmp_path):
    images = [{"filename": f"{n}.jpg", "split": s, "sentences": [{"raw": f"{n}{c}"} for c in "abcde"]}
              for n, s in ((1, "test"), (2, "train"), (3, "test"))]  # fmt: skip
    write(tmp_path / "flickr30k/dataset_flickr30k.json", json.dumps({"images": images}))
    for n in (1, 2, 3):
        save(tmp_path / f"flickr30k/flickr30k-images/{n}.jpg", n)
    found, dataset = open_captioned("flickr30k", data_dir=tmp_path)
    assert dataset.key == "flickr30k"
    assert [Path(p).stem for p in found.pictures] == ["1", "3"]
    assert found.picture_of.tolist() == [0] * 5 + [1] * 5
    assert found.captions[5] == "3a"
    write(tmp_path / "t.txt", "1.jpg#0\tone\n1.jpg#1\tmore\n2.jpg#0\ttwo\n")
    found, _ = open_captioned(tmp_path / "t.txt")
    assert found.picture_of.tolist() == [0, 0, 1]
    write(tmp_path / "k.txt", "image,caption\n1.jpg,one, and more\n2.jpg,two\n")
    found, _ = open_captioned(tmp_path / "k.txt")
    assert found.captions == ("one, and more", "two")
    write(tmp_path / "p.json", json.dumps([{"image": "val2014/1.jpg", "caption": ["x", "y"]}]))
    assert len(open_captioned(tmp_path / "p.json")[0].captions) == 2
    rows = {
        "image": [encoded(0), encoded(1)],
        "captions": [["a", "b"], ["c"]],
        "file_name": ["0", "1"],
    }
    found, _ = open_captioned(parquet(tmp_path / "c.parquet", rows))
    assert found.picture_of.tolist() == [0, 0, 1]
    with pytest.raises(DataError, match=r"has captions, no classes"):
        open_dataset("flickr30k", data_dir=tmp_path)


# what is said where something is not there


def test_messages(tmp_path, monkeypatch):
    monkeypatch.setenv("KESHIN_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    with pytest.raises(
        DataError, match=r"DTD|Describable Textures is not in .*: there is no dtd/labels/test1.txt"
    ) as caught:
        open_dataset("dtd")
    assert "--fetch` downloads it (0.6 GB)" in str(caught.value)
    write(tmp_path / "dtd/wrong/x.txt", "")
    with pytest.raises(DataError, match=r"It holds: wrong/"):
        open_dataset("dtd")
    with pytest.raises(DataError, match=r"Accept the rules"):
        open_dataset("fer2013")
    with pytest.raises(DataError, match=r"no data set 'cifar11'. Did you mean cifar10"):
        open_dataset("cifar11")
    with pytest.raises(DataError, match=r"has no split 'dev'. It has: train, test"):
        open_dataset("cifar10", "dev")
    with pytest.raises(DataError, match=r"fold '4', but UCF101 has folds 1 to 3"):
        open_dataset("ucf101", "test:4")
    with pytest.raises(DataError, match=r"has no folds"):
        open_dataset("dtd", "test:2")
    (tmp_path / "x.zip").write_bytes(b"")
    with pytest.raises(DataError, match=r"none of what keshin reads: a folder"):
        open_dataset(tmp_path / "x.zip")
    with pytest.raises(DataError, match=r"There is no .*nowhere"):
        open_dataset(tmp_path / "nowhere")
    write(tmp_path / "empty/readme.txt", "")
    with pytest.raises(DataError, match=r"Give a folder with one per class. It holds: readme.txt"):
        open_dataset(tmp_path / "empty")


def test_a_label_that_the_set_does_not_have(tmp_path):
    MINIATURES["dtd"](tmp_path / "dtd")
    write(tmp_path / "dtd/dtd/labels/test1.txt", "banded/banded_0001.jpg\nfurry/1.jpg\n")
    with pytest.raises(DataError, match=r"has the label 'furry', which is none of the 47"):
        open_dataset("dtd", data_dir=tmp_path)


def test_an_unpacked_folder_anywhere(tmp_path):
    MINIATURES["cifar10"](tmp_path)
    opened = open_dataset(tmp_path / "cifar-10-batches-bin", like="cifar10")
    assert [opened.labelled.names[t] for t in opened.labelled.targets] == ["truck", "cat", "cat"]
    for name in ("sea ship", "x"):
        save(tmp_path / f"own/{name}/1.png", 0)
    with pytest.raises(DataError, match=r"the label '(sea ship|x)'"):
        open_dataset(tmp_path / "own", like="cifar10")


def test_the_catalogue(tmp_path):
    MINIATURES["dtd"](tmp_path / "dtd")
    MINIATURES["mnist"](tmp_path / "mnist")
    (tmp_path / "mnist/t10k-labels-idx1-ubyte.gz").unlink()
    rows = {row.key: row for row in catalogue(tmp_path)}
    assert list(rows) == list(facts.all_datasets())
    assert rows["dtd"].state == "here"
    assert rows["dtd"].fetch_bytes == 0
    assert rows["mnist"].state == "partly here"
    assert rows["mnist"].here == ("train",)
    assert rows["cifar10"].state == "to fetch"
    assert rows["cifar10"].fetch_bytes == 170052171
    assert rows["cifar10"].size_is_exact
    assert not rows["country211"].size_is_exact
    assert rows["resisc45"].fetch_bytes is None
    assert rows["imagenet"].state == "by hand"
    assert rows["imagenet"].fetch_bytes is None
    assert rows["pcam"].test_bytes == 800875929 + 3040
    assert rows["pcam"].fetch_bytes > 8e9
    assert rows["mnist"].test_bytes == 1648877 + 4542
    assert "Register" in rows["imagenet"].how
    assert rows["coco_retrieval"].unchecked == ("caption_datasets.zip",)
    assert sum(row.in_paper for row in rows.values()) == 27


@pytest.mark.skipif(not SHARED.is_dir(), reason="the data beside the repository is not here")
def test_the_data_beside_the_repository():
    for file, like, count in (("test/cifar10-test-2000.parquet", "cifar10", 2000), ("test/mnist-test-2000.parquet", "mnist", 2000),
                              ("tiny-imagenet/tiny-imagenet-val-0000.parquet", "tiny_imagenet", 5000)):  # fmt: skip
        opened = open_dataset(SHARED / file, like=like)
        assert len(opened.labelled) == count
        assert len(opened.labelled.names) == facts.get(like).classes
        assert np.bincount(opened.labelled.targets, minlength=len(opened.labelled.names)).min() > 0
        assert isinstance(Image.open(io.BytesIO(opened.labelled.pictures[-1])), Image.Image)
    assert (
        open_dataset(
            SHARED / "tiny-imagenet/tiny-imagenet-val-0000.parquet", label="wnid"
        ).labelled.names[0]
        == "n01443537"
    )
