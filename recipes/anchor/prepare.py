"""Make ``src/keshin/finetune/anchor.zip``: what `keshin finetune` compares before and after.

Usage: python recipes/anchor/prepare.py EMOJI_FLUENT3D.parquet

200 drawn things (Fluent Emoji 3D, MIT) with their names, evenly spread over kinds that pictures
show: no faces, symbols or flags, and no name that is part of another. Columns of the table:
``image`` (encoded bytes), ``captions_en``, ``group``.
"""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet

KINDS = ("Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects")
COUNT = 200
OUT = Path(__file__).parents[2] / "src/keshin/finetune/anchor.zip"
NOTICE = """Pictures: Fluent Emoji, Copyright (c) Microsoft Corporation, MIT License (3D pictures as
packaged by LobeHub, MIT); scaled to 96 px. Names: Unicode CLDR, Copyright 2004-2026 Unicode, Inc.,
Unicode License V3.
"""


def main(path: str) -> None:
    """Write the anchor from the table of emoji."""
    rows = parquet.read_table(path).to_pylist()
    wanted = {}
    for row in rows:
        name = row["captions_en"][0]
        if row["group"].split(" / ")[0] in KINDS and not set(name) & set(":,()"):
            wanted.setdefault(name, row["image"])
    names = [n for n in wanted if not any(n != o and f" {n} " in f" {o} " for o in wanted)]
    chosen = [names[i] for i in np.linspace(0, len(names) - 1, COUNT).astype(int)]
    with zipfile.ZipFile(OUT, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, data: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(name), data)  # the same bytes on any day

        add("NOTICE", NOTICE.encode())
        add("names.json", json.dumps(chosen, indent=0).encode())
        for number, name in enumerate(chosen):
            add(f"{number:03d}.webp", wanted[name])
    print(len(wanted), len(names), chosen, OUT.stat().st_size)


main(sys.argv[1])
