"""An evaluation with made-up numbers, for tests of what is made of evaluations."""

import io

import numpy as np
from PIL import Image

from keshin.evaluate.reporting.confusion import counts
from keshin.evaluate.results import (
    Bin,
    Calibration,
    ClassScore,
    CurvePoint,
    DataFacts,
    Difference,
    Evaluation,
    Failed,
    FewShot,
    ModelFacts,
    OrderAlarm,
    PictureAnswers,
    ProbeResult,
    Prompts,
    RiskPoint,
    RunFacts,
    Shown,
)
from keshin.statistics.figure import Figure

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def jpeg(side=8, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def made(names=DIGITS, *, n=400, title="Digits", key="", value=0.6, seed=0, **changes):
    """Every part filled."""
    rng = np.random.default_rng(seed)
    names, k = list(names), len(names)
    targets = np.arange(n) % k
    predictions = np.where(rng.random(n) < value, targets, rng.integers(0, k, n))
    classes = []
    for index, name in enumerate(names):
        share = float((predictions[targets == index] == index).mean())
        count = int((targets == index).sum())
        wrong = ((names[(index + 1) % k], 3),)
        classes.append(ClassScore(name, count, share, share * 0.9, share + 0.1 * (1 - share), 0.5, wrong))  # fmt: skip

    def score(name, share, chance=1 / k):
        return Figure(
            name=name, value=share, low=share - 0.03, high=share + 0.03, chance=chance, count=n
        )

    def shown(shift):
        return tuple(
            Shown(f"photos/{i}.jpg", (names[i],), ((names[(i + shift) % k], 0.9),), jpeg(seed=i))
            for i in range(min(k, 4))
        )

    bins = tuple(Bin(c, 0.8 * c, 0.7 * c, 0.9 * c, 10) for c in (0.2, 0.5, 0.9))
    curve = tuple(CurvePoint(s, 0.5 + 0.02 * s, 0.48, 0.55 + 0.02 * s, 9) for s in (1, 2, 4))
    versus = Difference("linear probe", "zero-shot", 0.2, 0.15, 0.25, 1e-9, "exact McNemar")
    probe = ProbeResult(score("accuracy", value + 0.2), score("accuracy", value), versus, 0.3, 500, "Trained on train.")  # fmt: skip
    fields = {
        "data": DataFacts(title, key, "digits/", "test", "accuracy", n, 1, "ab" * 32, 1 / k),
        "model": ModelFacts("mini", "mini", "cd" * 32, "fp32", "exact", (64, 64)),
        "prompts": Prompts({name: (name,) for name in names}, ("a photo of a {}.", "{}!"), "paper"),
        "run": RunFacts(
            "keshin eval digits/",
            "2026-01-01 00:00 UTC",
            0,
            {"keshin": "0.1"},
            "Linux",
            "CPU",
            2,
            1.5,
        ),
        "scores": (score("accuracy", value), score("mean per class", value)),
        "classes": tuple(classes),
        "confusion": tuple(counts(targets, predictions)),
        "calibration": Calibration(0.2, 0.02, 0.001, bins, 1.6, 0.02, bins),
        "risk": tuple(RiskPoint(c / 10, 0.04 * c, 1 - c / 11) for c in range(1, 11)),
        "order": OrderAlarm(False, 1.0, ""),
        "ensembling": Difference(
            "all prompts", "single prompt", 0.01, -0.01, 0.03, 0.3, "exact McNemar"
        ),
        "single": score("accuracy", value - 0.01),
        "probe": probe,
        "few_shot": FewShot({"zero": curve}, value, {"zero": 2.5}, "accuracy", "9 draws."),
        "warnings": ("'one' and 'two' are near each other.",),
        "failures": (Failed("photos/x.jpg", "It is truncated."),),
        "best": shown(0),
        "worst": shown(1),
        "answers": PictureAnswers(("a", "b"), (0, 1), (0, 0), (0.9, 0.8)),
    }
    return Evaluation(**fields | changes)
