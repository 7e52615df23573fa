"""Pictures of few classes for tests of fine-tuning: a class is a colour, a picture has noise."""

import numpy as np
from PIL import Image

COLOURS = {"cat": (200, 60, 60), "dog": (60, 180, 70), "red_bird": (70, 80, 200)}


def picture(colour, seed, size=20):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(-45, 45, (5, 5, 3)).repeat(size // 5, 0).repeat(size // 5, 1)
    return Image.fromarray(np.clip(np.array(colour) + coarse, 0, 255).astype(np.uint8))


def write_classes(folder, each=8, shuffled=False):
    rng = np.random.default_rng(5)
    names = [name for name in COLOURS for _ in range(each)]
    colours = [names[i] for i in rng.permutation(len(names))] if shuffled else names
    for number, (name, colour) in enumerate(zip(names, colours, strict=True)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        picture(COLOURS[colour], number).save(folder / name / f"{number:03d}.png")
    return folder
