"""The table of data sets against the paper's Table 9, which is repeated here, and in itself."""

import tomllib

import pytest

from keshin.errors import DataError
from keshin.evaluate.sets.fetchers import FETCHERS
from keshin.evaluate.sets.readers import CAPTIONS, READERS
from keshin.facts import datasets as facts
from keshin.facts import kaokore, paper, prompts
from keshin.facts.human import paper_table

TABLE_9 = """
food101 102 75750 25250 accuracy
cifar10 10 50000 10000 accuracy
cifar100 100 50000 10000 accuracy
birdsnap 500 42283 2149 accuracy
sun397 397 19850 19850 accuracy
stanford_cars 196 8144 8041 accuracy
fgvc_aircraft 100 6667 3333 mean per class
voc2007 20 5011 4952 11-point mAP
dtd 47 3760 1880 accuracy
oxford_pets 37 3680 3669 mean per class
caltech101 102 3060 6085 mean per class
flowers102 102 2040 6149 mean per class
mnist 10 60000 10000 accuracy
fer2013 8 32140 3574 accuracy
stl10 10 1000 8000 accuracy
eurosat 10 10000 5000 accuracy
resisc45 45 3150 25200 accuracy
gtsrb 43 26640 12630 accuracy
kitti 4 6770 711 accuracy
country211 211 43200 21100 accuracy
pcam 2 294912 32768 accuracy
ucf101 101 9537 1794 accuracy
kinetics700 700 494801 31669 mean(top1, top5)
clevr_counts 8 2000 500 accuracy
hateful_memes 2 8500 500 ROC AUC
rendered_sst2 2 7792 1821 accuracy
imagenet 1000 1281167 50000 accuracy
"""
PAPER = [line.split(" ", 4) for line in TABLE_9.strip().splitlines()]
DIFFERS = {  # where the set itself is not what the paper prints: classes, train, test
    "food101": (101, 75750, 25250), "birdsnap": (500, 47386, 2443), "caltech101": (102, 3060, 6084),
    "fer2013": (7, 32298, 3589), "country211": (211, 42200, 21100), "ucf101": (101, 9537, 3783),
    "kinetics700": (700, 545317, 35000),
}  # fmt: skip
ROWS = list(facts.all_datasets().values())
each_row = pytest.mark.parametrize("row", ROWS, ids=[row.key for row in ROWS])


def test_the_27_come_first_in_the_papers_order():
    assert [row.key for row in ROWS][:27] == [line[0] for line in PAPER]
    assert [row.key for row in facts.paper_datasets()] == [line[0] for line in PAPER]
    assert {row.key for row in ROWS[27:]} == {
        "imagenet_v2", "imagenet_a", "imagenet_r", "imagenet_sketch", "objectnet", "tiny_imagenet",
        "flickr30k", "coco_retrieval", "kaokore", "kaokore_status", "kaokore_gender",
    }  # fmt: skip


@pytest.mark.parametrize("line", PAPER, ids=[line[0] for line in PAPER])
def test_sizes_classes_and_metric_of_table_9(line):
    key, *numbers, metric = line
    row, printed = facts.get(key), tuple(map(int, numbers))
    assert (row.table9.classes, row.table9.train, row.table9.test) == printed
    assert row.metric == metric
    assert row.prompts == key
    train = sum(
        split.fold_size or split.size
        for name, split in row.splits.items()
        if name in ("train", "val") and not split.beyond_paper
    )
    real = (row.classes, train, row.splits["test"].size)
    assert real == DIFFERS.get(key, printed)
    if key in DIFFERS:  # and it is said
        said = " ".join(row.notes)
        assert "paper" in said
        assert any(f"{number:,}" in said for number in {*printed, *real}) or key == "kinetics700"


@each_row
def test_a_row_makes_sense(row):
    known = CAPTIONS if row.task == "retrieval" else READERS
    for split in row.splits.values():
        for name in (split.reader or row.reader).split(facts.EITHER):
            assert name in known
    assert row.source.startswith("http")
    assert row.licence
    assert row.downloads or row.by_hand or row.fetcher in FETCHERS
    assert bool(row.about) == bool(row.fetcher)
    for said in (row.sizes_from, row.licence_from):
        assert said is None or said in facts.sources()
    assert not (row.downloads and row.by_hand)
    assert "test" in row.splits
    for download in row.downloads:
        assert download.origin in facts.sources()
        assert not (download.md5 and download.sha256)
        assert not (download.size and download.about)
        # what cannot be checked by hash comes over an encrypted line at least
        assert download.digest or download.url.startswith("https://")
        assert row.reader != "hdf5" or download.name.endswith(".h5.gz")
    if row.task == "retrieval":
        return
    labels, own = facts.labels(row), facts.own_labels(row)
    assert len(labels) == len(own) == len(facts.class_names(row)) == row.classes
    assert len(set(labels)) == row.classes
    assert len({facts.plain(label) for label in own}) == row.classes
    assert row.prompts in prompts.template_sets() or (row.prompts is None and row.names)


@pytest.mark.parametrize(
    ("key", "pairs"),
    [
        ("eurosat", {"Forest": "forest", "AnnualCrop": "annual crop land", "SeaLake": "lake or sea", "Highway": "highway or road",
                     "HerbaceousVegetation": "brushland or shrubland", "PermanentCrop": "permanent crop land", "River": "river",
                     "Residential": "residential buildings or homes or apartments", "Pasture": "pasture land",
                     "Industrial": "industrial buildings or commercial buildings"}),
        ("clevr_counts", {str(n): str(n) for n in range(3, 11)}),
        ("caltech101", {"Faces": "off-center face", "Faces_easy": "centered face", "cougar_body": "body of a cougar cat",
                        "cougar_face": "face of a cougar cat", "crocodile": "crocodile", "crocodile_head": "head of a  crocodile",
                        "flamingo": "flamingo", "flamingo_head": "head of a flamingo", "yin_yang": "yin and yang symbol",
                        "car_side": "side of a car", "BACKGROUND_Google": "background", "water_lilly": "water lilly",
                        "snoopy": "snoopy (cartoon beagle)", "sea_horse": "sea horse", "emu": "emu", "okapi": "okapi"}),
        ("country211", {"AD": "Andorra", "GB": "United Kingdom", "CD": "DR Congo", "CH": "Switzerland", "DE": "Germany",
                        "KP": "North Korea", "KR": "South Korea", "MK": "Macedonia", "SZ": "Eswatini", "XK": "Kosovo",
                        "JP": "Japan", "VG": "British Virgin Islands", "VI": "United States Virgin Islands", "ZW": "Zimbabwe"}),
        ("gtsrb", {"14": "stop", "13": "red and white upside down triangle yield right-of-way", "17": "red circle with white horizonal stripe no entry",
                   "40": "blue circle with white arrows indicating a traffic circle"}),
        ("flowers102", {"1": "pink primrose", "77": "passion flower", "102": "blackberry lily", "73": "water lily"}),
        ("stanford_cars", {"1": "AM General Hummer SUV 2000", "196": "smart fortwo Convertible 2012"}),
        ("fer2013", {"0": "angry", "1": "disgusted", "2": "fearful", "3": "happy", "4": "sad", "5": "surprised", "6": "neutral"}),
        ("stl10", {"1": "airplane", "3": "car", "8": "monkey", "10": "truck"}),
        ("kitti", {"0": "a photo i took of a car on my left or right side.", "3": "a photo i took with no car."}),
        ("pcam", {"1": "lymph node containing metastatic tumor tissue"}),
        ("hateful_memes", {"1": "hatespeech meme"}),
        ("imagenet", {"n01440764": "tench", "n03773504": "missile (n03773504)", "n02119789": "kit fox", "n15075141": "toilet paper",
                      "n04355933": "sunglasses (n04355933)", "n04356056": "sunglasses (n04356056)"}),
        ("imagenet_a", {"n01498041": "stingray", "n12267677": "acorn"}),
        ("imagenet_r", {"n01443537": "goldfish", "n12267677": "acorn"}),
        ("imagenet_v2", {"0": "tench", "999": "toilet paper"}),
        ("tiny_imagenet", {"n01443537": "goldfish"}),
        ("objectnet", {"full_sized_towel": "bath towel", "t-shirt": "t-shirt", "drying_rack_for_dishes": "drying rack for plates"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_own_labels_stand_for_the_right_names(key, pairs):
    row = facts.get(key)
    names = dict(zip(facts.own_labels(row), facts.labels(row), strict=True))
    assert {own: names[own] for own in pairs} == pairs


def test_the_papers_sizes_are_verified_where_the_set_has_them():
    for line in PAPER:
        row = facts.get(line[0])
        train, test = map(int, line[2:4])
        same = DIFFERS.get(line[0], (0, train, test))[1:] == (train, test)
        assert (row.sizes_from == "paper") == same, line[0]


def test_versions_of_kaokore_are_those_of_its_own_table():
    for key, classes in (("kaokore", "incarnation"), ("kaokore_status", "status"),
                         ("kaokore_gender", "gender")):  # fmt: skip
        row = facts.get(key)
        assert facts.own_labels(row) == kaokore.CLASSES[classes]
        for version in kaokore.facts().versions:
            at = facts.get(f"{key}@{version.name}")
            assert {name: part.size for name, part in at.splits.items()} == version.splits
            assert at.place == f"kaokore-{version.name}"
            assert at.options == {"question": classes, "version": version.name}
            assert facts.get(at.key) == at
    assert facts.get("KaoKore@1.0") is facts.get("kaokore")
    with pytest.raises(DataError, match=r"no version '2'. There are: 1.0, 1.1, 1.2, 1.3"):
        facts.get("kaokore@2")
    assert facts.find("mnist@2") is None
    with pytest.raises(DataError, match=r"MNIST has no version '2'. There are: none"):
        facts.get("mnist@2")


def test_lists_are_in_the_sets_own_order_where_it_has_one():
    for key in (
        "caltech101",
        "country211",
        "objectnet",
        "imagenet",
        "imagenet_a",
        "imagenet_r",
        "tiny_imagenet",
    ):
        own = facts.own_labels(facts.get(key))
        assert list(own) == sorted(own), key


def test_finding_a_set():
    for spelling in ("oxford_pets", "Oxford-Pets", "Oxford-IIIT Pets", "oxfordpets"):
        assert facts.find(spelling).key == "oxford_pets"
    assert facts.find("nothing") is None
    with pytest.raises(DataError, match="Did you mean flowers102"):
        facts.get("flowers101")


def test_a_row_that_is_wrong_is_refused():
    import msgspec

    raw = tomllib.loads(facts.TABLE.read_text(encoding="utf-8"))["datasets"]["dtd"]
    for change in (
        {"metric": "recal"},
        {"downloads": [{"url": "x", "from": "y", "md5": "123"}]},
        {"typo": 1},
    ):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"key": "dtd", **raw, **change}, facts.Dataset)


def test_the_papers_values():
    assert paper.zero_shot("ViT-L/14@336px")["imagenet"] == 76.2
    assert paper.zero_shot("RN50")["food101"] == 81.1
    assert paper.linear_probe("ResNet-50")["country211"] == 11.7
    assert set(paper.zero_shot("ViT-B/32")) == {line[0] for line in PAPER}
    assert all(
        set(paper.linear_probe(m)) == {line[0] for line in PAPER} for m in paper.probed_models()
    )
    figure = paper.figure5()
    assert list(figure) == [line[0] for line in PAPER]
    assert sum(value > 0 for value in figure.values()) == 16
    tables = {
        key: paper.zero_shot("ViT-L/14@336px")[key] - paper.linear_probe("ResNet-50")[key]
        for key in figure
    }
    far = {key for key in figure if abs(figure[key] - tables[key]) > 0.11}
    assert far == {"kitti", "ucf101"} == set(paper.disagreements())
    humans = paper_table().rows
    assert [row.setting for row in humans] == [
        "Zero-shot human",
        "Zero-shot CLIP",
        "One-shot human",
        "Two-shot human",
    ]
    assert (humans[0].accuracy, humans[3].majority_on_guesses) == (53.7, 86.1)
