"""torchvision reads the same miniatures and finds the same classes: their layouts are the real ones."""

import shutil
from collections import Counter

import numpy as np
import pytest

from keshin.core.pictures import open_picture
from keshin.evaluate.sets.datasets import open_dataset
from keshin.facts import datasets as facts
from keshin.facts.datasets import plain
from miniatures import MINIATURES, NEEDS

peers = pytest.importorskip("torchvision.datasets")
pytestmark = pytest.mark.peers

# key -> where torchvision expects the set, its class, its arguments, and what it calls a class
CASES = {
    "food101": (".", "Food101", {"split": "test"}),
    "fgvc_aircraft": (".", "FGVCAircraft", {"split": "test"}),
    "dtd": ("dtd", "DTD", {"split": "test"}),
    "oxford_pets": ("oxford-iiit-pet", "OxfordIIITPet", {"split": "test"}),
    "gtsrb": ("gtsrb", "GTSRB", {"split": "test"}),
    "country211": (".", "Country211", {"split": "test"}),
    "stanford_cars": ("stanford_cars", "StanfordCars", {"split": "test"}),
    "rendered_sst2": (".", "RenderedSST2", {"split": "test"}),
    "mnist": ("MNIST/raw", "MNIST", {"train": False}),
    "clevr_counts": ("clevr", "CLEVRClassification", {"split": "val"}),
}


@pytest.mark.parametrize("key", CASES)
def test_torchvision_reads_the_same(key, tmp_path):
    pytest.importorskip(NEEDS.get(key, "numpy"))
    place, name, options = CASES[key]
    MINIATURES[key](tmp_path / "ours" / key)
    theirs_root = tmp_path / "theirs"
    shutil.copytree(tmp_path / "ours" / key, theirs_root / place, dirs_exist_ok=True)
    if key == "mnist":  # torchvision wants the unpacked files
        import gzip

        for path in list((theirs_root / place).glob("*.gz")):
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    theirs = getattr(peers, name)(str(theirs_root), **options)
    opened = open_dataset(key, data_dir=tmp_path / "ours")
    own = facts.own_labels(opened.dataset)
    if facts.get(key).labels == "from 1":  # theirs count from 0
        own = tuple(str(int(label) - 1) for label in own)
    by_number = all(label.isdigit() for label in own)
    said = [
        str(label) if by_number else theirs.classes[label]
        for label in (theirs[row][1] for row in range(len(theirs)))
    ]
    expected = Counter((tone(theirs[row][0]), plain(label)) for row, label in enumerate(said))
    data = opened.labelled
    found = Counter(
        (tone(data.pictures[row]), plain(own[target])) for row, target in enumerate(data.targets)
    )
    assert found == expected


def tone(picture):
    pixels = np.asarray(open_picture(picture).convert("RGB"), float)
    return tuple(np.round(pixels.reshape(-1, 3).mean(axis=0)).astype(int).tolist())
