"""Miniatures of data sets in the real layouts of their makers, made by the tests.

``MINIATURES[key](root)`` writes a set below ``root`` and returns, for each split, the class names (as
the prompts say them) of the pictures that a reader should give, as a list in any order; where a
reader draws, ``None``. Each picture is one colour that says its class, so that a picture and its label
cannot be swapped unseen: see ``colour``.
"""

import gzip
import io
import json
import struct

import numpy as np
from PIL import Image

from keshin.facts import datasets as facts


def names(key):
    return list(facts.labels(facts.get(key)))


def colour(place):
    """A colour for a class's place in the order of the prompts."""
    return (37 * place % 256, 40 * (place // 7) % 256, 11 * place % 256)


def save(path, place, size=(8, 8), border=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, colour(place))
    if border:
        image = Image.new("RGB", size, border)
        image.paste(Image.new("RGB", (size[0] - 4, size[1] - 4), colour(place)), (2, 2))
    image.save(path, "PNG")  # whatever the suffix: readers go by content


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def food101(root):
    said = ["waffles", "apple pie", "creme brulee"]
    for split in ("train", "test"):
        write(
            root / f"food-101/meta/{split}.txt", "".join(f"{n.replace(' ', '_')}/1\n" for n in said)
        )
        folders = {n.replace(" ", "_"): [f"{n.replace(' ', '_')}/1"] for n in said}
        write(root / f"food-101/meta/{split}.json", json.dumps(folders))
    for name in said:
        save(root / f"food-101/images/{name.replace(' ', '_')}/1.jpg", names("food101").index(name))
    return {"train": said, "test": said}


CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def cifar_rows(places):
    return np.stack([
        np.repeat(np.array(colour(place), np.uint8), 1024) for place in places
    ])  # fmt: skip


def cifar10(root):
    """The binary version."""
    folder = root / "cifar-10-batches-bin"
    write(folder / "batches.meta.txt", "\n".join(CIFAR10) + "\n\n")
    batches = {f"data_batch_{n}": [n, 0] for n in range(1, 6)} | {"test_batch": [9, 3, 3]}
    for name, places in batches.items():
        rows = np.concatenate([np.array(places, np.uint8)[:, None], cifar_rows(places)], axis=1)
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    return {"test": ["truck", "cat", "cat"],
            "train": [CIFAR10[n] for n in range(1, 6)] + ["airplane"] * 5}  # fmt: skip


def cifar100(root):
    folder, known = root / "cifar-100-binary", names("cifar100")
    write(folder / "fine_label_names.txt", "\n".join(n.replace(" ", "_") for n in known) + "\n")
    for split, places in {"train": [5, 99], "test": [1, 52]}.items():
        rows = np.array([[7, place] for place in places], np.uint8)
        data = np.concatenate([rows, cifar_rows(places)], axis=1)
        (folder / f"{split}.bin").write_bytes(data.tobytes())
    return {"train": ["bed", "worm"], "test": ["aquarium fish", "oak tree"]}


def birdsnap(root):
    said = {
        "Acorn_Woodpecker/2.jpg": "Acorn Woodpecker",
        "Allens_Hummingbird/7.jpg": "Allens Hummingbird",
    }
    rows = "".join(f"http://x/y\tabc\t{path}\t1\n" for path in said)
    write(
        root / "images.txt",
        f"url\tmd5\tpath\tspecies_id\n{rows}http://x/z\tabc\tAnhinga/1.jpg\t1\n",
    )
    write(root / "test_images.txt", "path\nAllens_Hummingbird/7.jpg\nAnhinga/gone.jpg\n")
    for path, name in said.items():
        save(root / "download/images" / path, names("birdsnap").index(name))
    save(root / "download/images/Anhinga/1.jpg", names("birdsnap").index("Anhinga"))
    return {"test": ["Allens Hummingbird"], "train": ["Acorn Woodpecker", "Anhinga"]}


def sun397(root):
    said = {"/t/theater/indoor_procenium/sun_a.jpg": "theater indoor procenium",
            "/a/abbey/sun_b.jpg": "abbey", "/a/apartment_building/outdoor/sun_c.jpg": "apartment building outdoor"}  # fmt: skip
    for part in ("Training", "Testing"):
        write(root / f"Partitions/{part}_01.txt", "\n".join(said))
    for path, name in said.items():
        save(root / "SUN397" / path[1:], names("sun397").index(name))
    return {key: list(said.values()) for key in ("train", "test")}


def stanford_cars(root):
    from scipy.io import savemat

    known = names("stanford_cars")
    kind = [(n, "O") for n in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    for path, folder in (
        ("devkit/cars_train_annos.mat", "cars_train"),
        ("cars_test_annos_withlabels.mat", "cars_test"),
    ):
        rows = [(1, 1, 5, 5, 196, "00001.jpg"), (1, 1, 5, 5, 1, "00002.jpg")]
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        savemat(root / path, {"annotations": np.array([rows], kind)})
        save(root / folder / "00001.jpg", 195)
        save(root / folder / "00002.jpg", 0)
    savemat(root / "devkit/cars_meta.mat", {"class_names": np.array([known], "O")})
    return {key: [known[195], known[0]] for key in ("train", "test")}


def fgvc_aircraft(root):
    data, known = root / "fgvc-aircraft-2013b/data", names("fgvc_aircraft")
    write(data / "variants.txt", "\n".join(known) + "\n")
    said = {"1025794": "707-320", "0034309": "F-16A/B", "0056978": "Cessna 172"}
    for split in ("train", "val", "test"):
        write(data / f"images_variant_{split}.txt", "".join(f"{k} {v}\n" for k, v in said.items()))
    for number, name in said.items():
        save(data / f"images/{number}.jpg", known.index(name))
    return {key: list(said.values()) for key in ("train", "val", "test")}


def annotation(objects):
    body = "".join(
        f"<object><name>{n}</name><difficult>{d}</difficult></object>" for n, d in objects
    )
    return f"<annotation><folder>VOC2007</folder>{body}</annotation>"


def voc2007(root):
    """Targets as text: which are shown, and which are not counted."""
    place, known = root / "VOCdevkit/VOC2007", names("voc2007")
    scenes = {"000001": [("dog", 0), ("person", 0), ("person", 1)],
              "000002": [("train", 1)], "000004": [("pottedplant", 1), ("diningtable", 0)]}  # fmt: skip
    for split in ("train", "val", "test"):
        write(place / f"ImageSets/Main/{split}.txt", "\n".join(scenes) + "\n")
    for name, objects in scenes.items():
        write(place / f"Annotations/{name}.xml", annotation(objects))
        save(place / f"JPEGImages/{name}.jpg", known.index(objects[0][0]))
    return {
        key: [{"dog": 1, "person": 1}, {"train": -1}, {"pottedplant": -1, "diningtable": 1}]
        for key in ("train", "val", "test")
    }


def dtd(root):
    said = ["banded", "polka-dotted", "zigzagged"]
    for split in ("train", "val", "test"):
        write(root / f"dtd/labels/{split}1.txt", "".join(f"{n}/{n}_0001.jpg\n" for n in said))
    for name in said:
        save(root / f"dtd/images/{name}/{name}_0001.jpg", names("dtd").index(name))
    return dict.fromkeys(("train", "val", "test"), said)


def oxford_pets(root):
    """CLASS-ID is in the order of the alphabet, cats and dogs mixed; the prompts' is not."""
    known = names("oxford_pets")
    text = ""
    for number, name in enumerate(sorted(known, key=str.casefold), start=1):
        stem = f"{name.replace(' ', '_')}_{7 * number}"
        text += f"{stem} {number} {1 if name[0].isupper() else 2} {number}\n"
        save(root / f"images/{stem}.jpg", known.index(name))
    write(root / "annotations/trainval.txt", text)
    write(root / "annotations/test.txt", text)
    return dict.fromkeys(("train", "test"), known)


def caltech101(root):
    own = {"BACKGROUND_Google": "background", "Faces": "off-center face", "Faces_easy": "centered face",
           "airplanes": "airplane", "car_side": "side of a car", "yin_yang": "yin and yang symbol"}  # fmt: skip
    for folder, name in own.items():
        for number in range(32):
            save(
                root / f"101_ObjectCategories/{folder}/image_{number:04d}.jpg",
                names("caltech101").index(name),
            )
    (root / "101_ObjectCategories/BACKGROUND_Google/tmp").write_bytes(b"no picture")
    return {
        "train": [n for n in own.values() for _ in range(30)],
        "test": [n for n in own.values() for _ in range(2)],
    }


def flowers102(root):
    from scipy.io import savemat

    classes = np.array([[77, 1, 102, 51]], np.uint8)
    root.mkdir(parents=True, exist_ok=True)
    savemat(root / "imagelabels.mat", {"labels": classes})
    savemat(
        root / "setid.mat", {"trnid": [[1]], "valid": [[2]], "tstid": np.array([[3, 4]], np.uint16)}
    )
    for number, one in enumerate(classes[0], start=1):
        save(root / f"jpg/image_{number:05d}.jpg", int(one) - 1)
    return {
        "train": ["passion flower"],
        "val": ["pink primrose"],
        "test": ["blackberry lily", "petunia"],
    }


def idx_bytes(array):
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def mnist(root):
    root.mkdir(parents=True, exist_ok=True)
    for part, digits in (("train", [5, 0]), ("t10k", [7, 2, 1])):
        images = np.stack([np.full((28, 28), 20 * digit) for digit in digits])
        for kind, array in (("images-idx3", images), ("labels-idx1", np.array(digits))):
            with gzip.open(root / f"{part}-{kind}-ubyte.gz", "wb") as file:
                file.write(idx_bytes(array))
    return {"train": ["5", "0"], "test": ["7", "2", "1"]}


def fer2013(root):
    rows = [(6, "Training"), (0, "PublicTest"), (3, "PrivateTest"), (5, "PrivateTest")]
    lines = [f"{n},{' '.join([str(30 * n)] * 2304)},{usage}" for n, usage in rows]
    write(root / "fer2013.csv", "emotion,pixels,Usage\n" + "\n".join(lines) + "\n")
    return {"train": ["neutral"], "val": ["angry"], "test": ["happy", "surprised"]}


def stl10(root):
    place = root / "stl10_binary"
    place.mkdir(parents=True)
    for part, classes in (("train", [1, 10, 8]), ("test", [2, 3])):
        pixels = np.zeros((len(classes), 3, 96, 96), np.uint8)  # by columns
        for row, one in enumerate(classes):
            pixels[row] = np.array(colour(one - 1))[:, None, None]
        pixels[0, :, 5, 60] = 255  # column 5, row 60
        pixels.tofile(place / f"{part}_X.bin")
        np.array(classes, np.uint8).tofile(place / f"{part}_y.bin")
    write(place / "fold_indices.txt", "2 0 \n1 \n" + "0 \n" * 8)
    write(
        place / "class_names.txt",
        "airplane\nbird\ncar\ncat\ndeer\ndog\nhorse\nmonkey\nship\ntruck\n",
    )
    return {
        "train": ["airplane", "truck", "monkey"],
        "train:1": ["monkey", "airplane"],
        "train:2": ["truck"],
        "test": ["bird", "car"],
    }


def eurosat(root):
    own = {
        "AnnualCrop": "annual crop land",
        "Forest": "forest",
        "SeaLake": "lake or sea",
        "Highway": "highway or road",
    }
    for folder, name in own.items():
        for number in range(1, 3):
            save(root / f"2750/{folder}/{folder}_{number}.jpg", names("eurosat").index(name))
    return {"train": [n for n in own.values() for _ in range(2)]}  # 1,000 a class come first


def resisc45(root):
    said = ["airplane", "thermal power station", "baseball diamond"]
    for name in said:
        for number in range(141):
            folder = name.replace(" ", "_")
            save(
                root / f"NWPU-RESISC45/{folder}/{folder}_{number:03d}.jpg",
                names("resisc45").index(name),
                (1, 1),
            )
    return {
        "train": [n for n in said for _ in range(70)],
        "val": [n for n in said for _ in range(70)],
        "test": said,
    }


def gtsrb(root):
    known = names("gtsrb")
    for number in (0, 14):
        for track in (0, 1):
            for frame in (0, 1):
                save(root / f"GTSRB/Training/{number:05d}/{track:05d}_{frame:05d}.ppm", number)
    rows = {"00000.ppm": 42, "00001.ppm": 9}
    text = "".join(f"{n};53;54;6;5;48;49;{c}\n" for n, c in rows.items())
    write(
        root / "GT-final_test.csv",
        "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n" + text,
    )
    for name, number in rows.items():
        save(root / f"GTSRB/Final_Test/Images/{name}", number)
    return {"train": [known[0]] * 4 + [known[14]] * 4, "test": [known[42], known[9]]}


def kitti_label(kind, metres):
    return f"{kind} 0.00 0 -1.57 10.0 20.0 30.0 40.0 1.5 1.6 4.0 1.0 1.5 {metres} 0.1\n"


KITTI = {0: [("Car", 5.0), ("Van", 30.0)], 1: [("Truck", 8.0)], 2: [("Van", 8.01)], 3: [("Car", 20.5)],
         4: [("Pedestrian", 3.0)], 5: [("DontCare", -1000), ("Tram", 2.0)]}  # fmt: skip
KITTI_BINS = [0, 0, 1, 2, 3, 3]


def kitti(root):
    drives = [f"2011_09_26_drive_{n:04d}_sync" for n in range(6)]
    write(
        root / "mapping/train_mapping.txt",
        "".join(f"2011_09_26 {d} 0000000001\n" for d in reversed(drives)),
    )
    write(root / "mapping/train_rand.txt", ",".join(str(6 - n) for n in range(6)))
    for number, objects in KITTI.items():
        save(root / f"training/image_2/{number:06d}.png", KITTI_BINS[number])
        write(
            root / f"training/label_2/{number:06d}.txt", "".join(kitti_label(*o) for o in objects)
        )
    return {}  # which drives are drawn is tested apart


def country211(root):
    own = {"AD": "Andorra", "GB": "United Kingdom", "JP": "Japan", "XK": "Kosovo", "ZW": "Zimbabwe"}
    for split in ("train", "valid", "test"):
        for code, name in own.items():
            save(root / f"country211/{split}/{code}/1.jpg", names("country211").index(name))
    return {key: list(own.values()) for key in ("train", "val", "test")}


def pcam(root):
    import h5py

    root.mkdir(parents=True, exist_ok=True)
    for part in ("train", "valid", "test"):
        pixels = np.stack([np.full((96, 96, 3), colour(n)) for n in (1, 0, 1)]).astype(np.uint8)
        with h5py.File(root / f"camelyonpatch_level_2_split_{part}_x.h5", "w") as file:
            file["x"] = pixels
        with h5py.File(root / f"camelyonpatch_level_2_split_{part}_y.h5", "w") as file:
            file["y"] = np.array([1, 0, 1], np.uint8).reshape(3, 1, 1, 1)
    tumour = "lymph node containing metastatic tumor tissue"
    return {key: [tumour, "lymph node", tumour] for key in ("train", "val", "test")}


def video(path, place, frames=5):
    """A video whose middle frame alone has the colour of its class."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 32, 32, "yuv420p", 2_000_000
        for number in range(frames):
            tone = colour(place) if number == frames // 2 else (255, 255, 255)
            array = np.full((32, 32, 3), tone, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)


def ucf101(root):
    said = {
        "ApplyEyeMakeup": "Apply Eye Makeup",
        "HandstandPushups": "Hand Stand Pushups",
        "YoYo": "Yo Yo",
    }
    first = "".join(f"{f}/v_{f}_g0{g}_c0{c}.avi {{n}}\n" for f in said for g, c in ((1, 1), (1, 2)))
    for fold in (1, 2, 3):
        lines = first.splitlines()[: 2 * fold]
        write(
            root / f"ucfTrainTestlist/trainlist0{fold}.txt",
            "\n".join(line.format(n=1) for line in lines),
        )
        write(
            root / f"ucfTrainTestlist/testlist0{fold}.txt",
            "\n".join(line.split()[0] for line in lines),
        )
    for folder, name in said.items():
        for clip in (1, 2):
            video(
                root / f"UCF-101/{folder}/v_{folder}_g01_c0{clip}.avi", names("ucf101").index(name)
            )
    every = [name for name in said.values() for _ in (1, 2)]
    return {"test": every[:2], "test:1": every[:2], "test:3": every, "train:2": every[:4]}


def kinetics700(root):
    said = {"backflip (human)": "aaaaaaaaaaa", "zumba": "bbbbbbbbbbb", "yoga": "ccccccccccc"}
    rows = "".join(f"{name},{key},10,20,validate\n" for name, key in said.items())
    for table, folder in (("train.csv", "train"), ("validate.csv", "val")):
        write(root / table, "label,youtube_id,time_start,time_end,split\n" + rows)
        video(
            root / f"{folder}/backflip (human)/aaaaaaaaaaa_000010_000020.mp4",
            names("kinetics700").index("backflip (human)"),
        )
        video(root / f"{folder}/bbbbbbbbbbb_000010_000020.mp4", names("kinetics700").index("zumba"))
    return {key: ["backflip (human)", "zumba"] for key in ("train", "test")}  # one is not there


def clevr_counts(root):
    place = root / "CLEVR_v1.0"
    for part in ("train", "val"):
        scenes = [{"image_filename": f"CLEVR_{part}_{n:06d}.png", "split": part,
                   "objects": [{"shape": "cube", "pixel_coords": [1, 2, 3.5]}] * n} for n in (10, 3, 9, 4)]  # fmt: skip
        write(
            place / f"scenes/CLEVR_{part}_scenes.json", json.dumps({"info": {}, "scenes": scenes})
        )
        for n in (10, 3, 9, 4):
            save(
                place / f"images/{part}/CLEVR_{part}_{n:06d}.png",
                names("clevr_counts").index(str(n)),
            )
    return {key: ["10", "3", "9", "4"] for key in ("train", "test")}


def hateful_memes(root):
    rows = [(42953, 0), (23058, 1)]
    lines = [
        json.dumps({"id": n, "img": f"img/{n:05d}.png", "label": label, "text": "x"})
        for n, label in rows
    ]
    for name in ("train", "dev"):
        write(root / f"{name}.jsonl", "\n".join(lines) + "\n")
    for number, label in rows:
        save(root / f"img/{number:05d}.png", label)
    return {key: ["meme", "hatespeech meme"] for key in ("train", "test")}


def rendered_sst2(root):
    for split in ("train", "valid", "test"):
        for place, name in enumerate(("negative", "positive")):
            save(root / f"rendered-sst2/{split}/{name}/1.png", place)
    return {key: ["negative", "positive"] for key in ("train", "val", "test")}


def wnids(key, places):
    own = facts.own_labels(facts.get(key))
    return {own[place]: names(key)[place] for place in places}


def imagenet(root):
    """657 and 744 have the same name; 13 is in another order in the devkit."""
    own = wnids("imagenet", (0, 657, 744, 999))
    for split in ("train", "val"):
        for wnid, name in own.items():
            save(root / f"{split}/{wnid}/{wnid}_1.JPEG", names("imagenet").index(name))
    return {key: list(own.values()) for key in ("train", "test")}


def imagenet_v2(root):
    for number in (0, 2, 10, 999):
        save(root / f"imagenetv2-matched-frequency-format-val/{number}/a.jpeg", number)
    return {"test": [names("imagenet_v2")[n] for n in (0, 2, 10, 999)]}


def of_folders(key, folder, places=(0, 7, -1)):
    def make(root):
        own = wnids(key, places)
        for wnid, name in own.items():
            save(root / f"{folder}/{wnid}/1.jpg", names(key).index(name))
        return {"test": list(own.values())}

    return make


def objectnet(root):
    own = {"t-shirt": "t-shirt", "full_sized_towel": "bath towel", "wok": "wok"}
    for folder, name in own.items():
        save(
            root / f"objectnet-1.0/images/{folder}/a.png",
            names("objectnet").index(name),
            (12, 12),
            (255, 0, 0),
        )
    save(root / "objectnet-1.0/images/squeegee/a.png", 0)
    return {"test": list(own.values())}


def tiny_imagenet(root):
    own, place = wnids("tiny_imagenet", (0, 199)), root / "tiny-imagenet-200"
    for row, (wnid, name) in enumerate(own.items()):
        save(place / f"train/{wnid}/images/{wnid}_0.JPEG", names("tiny_imagenet").index(name))
        save(place / f"val/images/val_{row}.JPEG", names("tiny_imagenet").index(name))
    lines = "".join(f"val_{row}.JPEG\t{wnid}\t0\t32\t44\t62\n" for row, wnid in enumerate(own))
    write(place / "val/val_annotations.txt", lines)
    return {key: list(own.values()) for key in ("train", "test")}


MINIATURES = {
    make.__name__: make
    for make in (
        food101, cifar10, cifar100, birdsnap, sun397, stanford_cars, fgvc_aircraft, voc2007, dtd,
        oxford_pets, caltech101, flowers102, mnist, fer2013, stl10, eurosat, resisc45, gtsrb, kitti,
        country211, pcam, ucf101, kinetics700, clevr_counts, hateful_memes, rendered_sst2, imagenet,
        imagenet_v2, objectnet, tiny_imagenet,
    )
} | {
    "imagenet_a": of_folders("imagenet_a", "imagenet-a"),
    "imagenet_r": of_folders("imagenet_r", "imagenet-r"),
    "imagenet_sketch": of_folders("imagenet_sketch", "sketch"),
}  # fmt: skip
NEEDS = {
    "pcam": "h5py",
    "ucf101": "av",
    "kinetics700": "av",
    "stanford_cars": "scipy",
    "flowers102": "scipy",
}
GREY = {"mnist", "fer2013"}


def encoded(place, kind="PNG"):
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), colour(place)).save(stream, kind)
    return stream.getvalue()
