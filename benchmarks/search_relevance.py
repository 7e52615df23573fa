"""Does the cut-off of a search mean something? Captions and names, with and without a picture here.

    python benchmarks/search_relevance.py ../shared/data/flickr8k/flickr8k-dev.parquet [--write]

The table has columns image, captions (five each). The library is its pictures. Asked are

- captions (the first of each picture): with their picture in the library, and with it taken out;
- names (NAMES): in the library, if at least three pictures have two captions or more that use the
  word, and absent, if no caption uses it. Of the results of a name, those with two captions or more
  that use it are right, those with none wrong; one is left out.

For each least relevance: how many queries are answered; for captions how often their own picture is
among the results; for names how many results are right. Intervals are Wilson's at 95 %, for results
of names a bootstrap over names. A caption whose picture is gone is often answered rightly with
another picture (a dog on a beach, of which there are many), so "nothing" is not always the right
answer there; for absent names it is.

What is developed is developed on dev; the table of test was evaluated once (docs/decisions.md).
"""

from __future__ import annotations

import argparse
import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import keshin
from keshin.search.background import captions as background_captions
from keshin.search.background import kind_of
from keshin.search.relevance import LOOKED_AT, Null
from keshin.statistics.intervals import wilson

NAMES = tuple(
    (  # noqa: SIM905 - words read better as text
        "dog boy girl man woman snow water beach ball grass bike bicycle rock mountain car "
        "street tree pool ocean baby horse bench field soccer football basketball tennis "
        "skateboard surfer wave boat river lake sand sidewalk building crowd camera hat "
        "sunglasses guitar swing slide kitchen motorcycle bird cat cow sheep tent fire flower "
        "umbrella bus train truck hockey baseball trampoline helmet racetrack greyhound "
        "waterfall fountain stair playground cliff climber snowboarder skier kayak canoe "
        "giraffe elephant volcano airplane spreadsheet sushi piano typewriter chess "
        "lighthouse windmill castle robot microscope penguin octopus whale snake spider "
        "toothbrush microwave keyboard laptop telephone clock refrigerator pizza banana "
        "broccoli donut zebra kangaroo submarine rocket helicopter satellite skeleton "
        "dinosaur galaxy receipt map newspaper logo cactus tulip lobster violin harp "
        "accordion chandelier teapot "
    ).split()
)
LEAST = [0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95]
DRAWS = 2000


def falling(scores: Any) -> Any:
    return -np.sort(-scores, axis=-1)[..., :LOOKED_AT]


def with_interval(hits: Any) -> dict[str, float]:
    found = wilson(float(np.sum(hits)), len(hits))
    return {"share": float(np.mean(hits)), "low": found.low, "high": found.high, "n": len(hits)}


def nulls(model: keshin.Model, pictures: Any) -> dict[tuple[str, bool], Any]:
    """Vectors and best scores of the background queries of both lengths."""
    found = {}
    for short in (True, False):
        vectors = model.encode_texts(background_captions(("en", short)))
        found["en", short] = (vectors, vectors @ pictures.T)
    return found


def captions_part(model: keshin.Model, pictures: Any, texts: list[list[str]]) -> dict[str, Any]:
    background = nulls(model, pictures)
    asked = [captions[0] for captions in texts]
    scores = model.encode_texts(asked) @ pictures.T
    there, own, gone = [], [], []
    for place, text in enumerate(asked):
        by_chance = background[kind_of([text])][1]
        relevance = Null(falling(by_chance)).relevance(falling(scores[place]))
        rank = int((scores[place] > scores[place, place]).sum())
        there.append(relevance[0])
        own.append(relevance[rank] if rank < LOOKED_AT else -1.0)
        without = np.delete(scores[place], place)
        null = Null(falling(np.delete(by_chance, place, axis=1)))
        gone.append(null.relevance(falling(without))[0])
    there, own, gone = map(np.array, (there, own, gone))
    curve = [
        {
            "least": least,
            "picture here: answered": with_interval(there >= least),
            "picture here: among the results": with_interval(own >= least),
            "picture gone: nothing": with_interval(gone < least),
        }
        for least in LEAST
    ]
    return {"queries": len(asked), "curve": curve}


def names_part(model: keshin.Model, pictures: Any, texts: list[list[str]]) -> dict[str, Any]:
    words = [[set(re.findall(r"[a-z]+", c.lower())) for c in captions] for captions in texts]
    uses = np.array([[sum(bool({n, n + "s", n + "es"} & said) for said in five) for five in words]
                     for n in NAMES])  # fmt: skip
    here = np.flatnonzero((uses >= 2).sum(axis=1) >= 3)
    absent = np.flatnonzero(uses.sum(axis=1) == 0)
    prompts = [("an " if name[0] in "aeiou" else "a ") + name for name in NAMES]
    scores = model.encode_texts(prompts) @ pictures.T
    null = Null(falling(nulls(model, pictures)["en", True][1]))
    relevance = np.array([null.relevance(line) for line in falling(scores)])
    curve = []
    for least in LEAST:
        right, wrong, wanted = (np.zeros(len(here)) for _ in range(3))
        for row, name in enumerate(here):
            shown = np.argsort(-scores[name], kind="stable")[: (relevance[name] >= least).sum()]
            right[row] = (uses[name, shown] >= 2).sum()
            wrong[row] = (uses[name, shown] == 0).sum()
            wanted[row] = (uses[name] >= 2).sum()
        curve.append({
            "least": least,
            "here: answered": with_interval(relevance[here, 0] >= least),
            "absent: answered": with_interval(relevance[absent, 0] >= least),
            "precision": ratio(right, right + wrong),
            "recall": ratio(right, wanted),
        })  # fmt: skip
    base = float((uses[here] >= 2).mean())
    return {"here": len(here), "absent": len(absent), "chance precision": base, "curve": curve}


def ratio(part: Any, whole: Any) -> dict[str, float | None]:
    """Of sums, with a bootstrap over names."""
    if not whole.sum():
        return {"share": None, "low": None, "high": None}
    dice = np.random.default_rng(0).integers(len(part), size=(DRAWS, len(part)))
    below = whole[dice].sum(axis=1)
    drawn = part[dice].sum(axis=1)[below > 0] / below[below > 0]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return {"share": float(part.sum() / whole.sum()), "low": float(low), "high": float(high)}


def shown(one: dict[str, Any]) -> str:
    if one["share"] is None:
        return "-"
    return f"{one['share']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    table = pq.read_table(options.table, columns=["image", "captions"])
    texts = table["captions"].to_pylist()
    model = keshin.load(options.model)
    pictures = model.encode_images(table["image"].to_pylist())
    pictures = pictures.astype(np.float16).astype(np.float32)
    results = {"model": options.model, "table": options.table.name,
               "captions": captions_part(model, pictures, texts),
               "names": names_part(model, pictures, texts)}  # fmt: skip
    for part in ("captions", "names"):
        print(part, {k: v for k, v in results[part].items() if k != "curve"})
        for line in results[part]["curve"]:
            print(
                f"{line['least']:5.2f}",
                *(f"{k}: {shown(v)};" for k, v in line.items() if k != "least"),
            )
    if options.write:
        path = Path(__file__).parent / "results/search_relevance.json"
        path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
