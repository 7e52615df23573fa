"""Write the generated pages: results, the recipe's settings, the releases. ``--check`` only looks.

Tables come from benchmarks/results/*.json as they were measured, the list of settings from the
recipe's own classes, the releases from the table that the program reads, so that none can say
something else than its source.
"""

from __future__ import annotations

import ast
import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
NOTE = "<!-- Written by scripts/docs.py; edit that, or measure again. -->\n"


ENGINES = ("keshin", "open_clip", "transformers")
STORED = "stored"
"""The contestant of benchmarks/folder.py that has kept the vectors."""


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def quality(content: dict[str, Any]) -> str:
    """Zero-shot, probe and few-shot of each set, with intervals and chance; recalls by class."""

    def within(values: list[float]) -> str:
        value, low, high = values
        return f"{100 * value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"

    def said(score: dict[str, Any] | None) -> str:
        return "–" if score is None else within([score["value"], score["low"], score["high"]])

    rows, scores, trained, classes = [], [], [], []
    for row in content["rows"]:
        zero = row["zero_shot"]
        rows.append(
            [
                row["data"], row["prompts"], zero["name"], f"**{said(zero)}**",
                f"{100 * zero['chance']:.1f}", said(row["single_prompt"]), said(row["probe"]),
                str(zero["count"]),
            ]
        )  # fmt: skip
        scores.append(
            [
                row["data"], f"{100 * row['calibration_error']:.1f}",
                within([row["without_noise"], *row["interval"]]),
                within([row["with_temperature"], *row["with_temperature_interval"]]),
                within(row["risk_area"]),
            ]
        )  # fmt: skip
        for start, curve in (row["few_shot"] or {}).items():
            trained.append([row["data"], start, *(within(v) for v in curve.values())])
        if row["classes"] and len(row["classes"]) > 2:
            found = (f"{n} {within(v)}" for n, v in row["classes"].items() if v[0] is not None)
            classes.append(f"- {row['data']}: {', '.join(found)}.")
    twins = [
        f"- {row['data']}: {t['looked at']:,} pictures looked at, {t['nearly the same as a test picture']} left out as nearly the same as a test picture; the highest correlation of those kept is {t['highest correlation of those kept']}. {row['probe_protocol']}"  # noqa: E501
        for row in content["rows"]
        if (t := row["training pictures"])
    ]
    head = ["data", "prompts", "measure", "zero-shot", "chance", "single prompt", "linear probe"]
    shots = ["1", "2", "4", "8", "16"]
    return "\n".join(
        [
            "Percent, with 95 % intervals.\n", table([*head, "pictures"], rows),
            "Few-shot, examples a class, started from zero or from the text weights:\n",
            table(["data", "start", *shots], trained),
            "Whether scores are true: the calibration error, the same without what noise adds, the "
            "error with a temperature (the interval is of the true error, so it may lie below the "
            "value), and the area under the risk-coverage curve:\n",
            table(["data", "error", "without noise", "with temperature", "risk area"], scores),
            "What probes learnt from:\n", "\n".join(twins) + "\n",
            "Recall by class:\n", "\n".join(classes) + "\n",
        ]
    )  # fmt: skip


def parity(content: dict[str, Any]) -> str:
    """Largest differences to the peers, by model, files and engine."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in content["distances"]:
        towers = found.setdefault((row["model"], row["files"], row["engine"]), {})
        tower = row["tower"].split(",")[0]
        towers[tower] = max(towers.get(tower, 0.0), row["unit"])
    rows = [
        [*key, f"{towers['image']:.1e}", f"{towers['text']:.1e}"] for key, towers in found.items()
    ]
    return table(["model", "files and peer", "keshin's engine", "image", "text"], rows)


def first_answer(content: dict[str, Any]) -> str:
    """Times from command to answer, as ratios of medians."""
    rows = [
        [row["what"], *(row[name] for name in ENGINES), row["ratios"], row.get("memory", "")]
        for row in content["rows"]
    ]
    return table(["what", *ENGINES, "ratio to each", "memory to each"], rows)


METHODS = {
    "title": "title alone, no pixel",
    "plain_en": "zero-shot, the data set's words, English",
    "plain_ja": "zero-shot, the data set's words, Japanese",
    "dictionary_en": "zero-shot, a dictionary's words, English",
    "dictionary_ja": "zero-shot, a dictionary's words, Japanese",
    "blind_en": "zero-shot, English, chosen on train among words without the tags",
    "zero_shot_en": "zero-shot, English, chosen on train",
    "zero_shot_ja": "zero-shot, Japanese, chosen on train",
    "probe": "linear probe",
    "resnet50": "linear probe on a supervised ResNet-50",
    "finetuned": "trained further",
}


def ranged(figure: dict[str, float] | None) -> str:
    """A value in per cent with its interval."""
    if figure is None:
        return "–"
    value, low, high = (100 * figure[key] for key in ("value", "low", "high"))
    return f"{value:.1f}" if low == high else f"{value:.1f} [{low:.1f}, {high:.1f}]"


def kaokore(content: dict[str, Any]) -> str:
    """Incarnations against people, then status and gender, then what test said before."""
    rows = []
    methods = {method["key"]: method for method in content["methods"]}
    for key, name in METHODS.items():
        if key not in methods:
            continue
        dev, apart, test = (methods[key].get(part) for part in ("dev", "apart", "test"))
        cells = [dev["area"], apart["area"], apart["within"]]
        cells += [test["area"], test["balanced"]] if test else [None, None]
        rows.append([name, *map(ranged, cells)])
    text = table(
        ["method", "AUC, dev", "AUC, unseen works", "AUC within works", "AUC, test",
         "balanced accuracy, test"], rows,
    )  # fmt: skip
    others = [
        [question, METHODS.get(row["key"], "always the most frequent class"),
         ranged(row["dev"]["accuracy"]), ranged((row.get("apart") or {}).get("accuracy")),
         ranged((row.get("test") or {}).get("accuracy"))]
        for question in ("status", "gender") for row in content[question]
    ]  # fmt: skip
    head = ["question", "method", "accuracy, dev", "accuracy, unseen works", "accuracy, test"]
    text += "\n" + table(head, others)
    for before in content["earlier"]:
        told = [
            f"{METHODS[key]} {ranged(figure)} and {ranged(before['balanced'][key])}"
            for key, figure in before["areas"].items()
            if key in ("zero_shot_en", "zero_shot_ja", "probe", "finetuned")
        ]
        text += (
            f"\nThe test split was asked {len(content['earlier']) + 1} times. Before, on "
            f"{before['made']} ({before['note']}), AUC and balanced accuracy were: "
            f"{'; '.join(told)}.\n"
        )
    return text


SECTIONS = (
    (
        "evaluation.json",
        "How good the embedded model is",
        "Held-out pictures; `python benchmarks/evaluation.py --data FOLDER --cifar-train FOLDER`. "
        "No probe learnt from test pictures. KaoKore has [its own page](guides/kaokore.md).",
        quality,
    ),
    (
        "kaokore.json",
        "KaoKore: incarnations (化身) against people, status, gender",
        "Version 1.0; `keshin kaokore`. Values in per cent; in the 95 % intervals a work is one "
        'sample. "Unseen works" and "within works" are on train and dev, works kept apart. '
        "[The guide](guides/kaokore.md) says what each means.",
        kaokore,
    ),
    (
        "parity.json",
        "Parity with the peers",
        "Largest difference of a unit-length feature with the same random weights, in float32, "
        "through the peers' own files; `python benchmarks/parity.py`. The aim is 1e-5.",
        parity,
    ),
    (
        "first_answer.json",
        "From command to first answer",
        "The same ViT-B/32 with random weights on disk, whole processes, alternating runs, "
        "medians; `python benchmarks/first_answer.py`.",
        first_answer,
    ),
)


def text_classifiers(*contents: dict[str, Any]) -> str:
    """Class weights from labels and templates."""
    rows = [
        [
            f"{content['classes']} classes x {content['templates']} templates, {content['mode']}",
            *(f"{content['medians'][name]:.1f} s" for name in ENGINES),
            *(f"{content['ratios'][name]:.1f} x" for name in ENGINES[1:]),
        ]
        for content in contents
    ]
    return table(["work", *ENGINES, *(f"to {name}" for name in ENGINES[1:])], rows)


def encoders(content: dict[str, Any]) -> str:
    """Image towers in every mode."""
    rows = [
        [
            row["model"],
            str(row["batch"]),
            row["mode"],
            f"{row['milliseconds']:.0f} ms",
            *(f"{row['ratios'][n]:.2f} x" if n in row["ratios"] else "–" for n in ENGINES[1:]),
            f"{row['ratios of the fastest calls'][ENGINES[1]]:.2f} x",
            f"{row['least cosine']:.5f}",
            f"{100 * row['share of peak']:.0f} %",
        ]
        for row in content["rows"]
    ]
    head = ["tower", "batch", "mode", "keshin", *(f"to {name}" for name in ENGINES[1:])]
    head.append(f"to {ENGINES[1]}, fastest calls")
    peak = content["peak operations a second"]
    note = ", ".join(f"{name} {value / 1e9:.0f}" for name, value in peak.items())
    return table([*head, "least cosine", "share of peak"], rows) + (
        "\nThe peak is that of a large matrix product on the same cores, in thousand million "
        f"operations a second: {note}; modes other than `int8` are compared with fp32's. Times are "
        "medians of turns in which each engine repeats its call, on a machine that was not idle; "
        "the fastest calls are those that nothing else disturbed.\n"
    )


def folders(content: dict[str, Any]) -> str:
    """A folder of photographs."""
    names = [row["what"] for row in content["rows"] if not row["what"].startswith("keshin")]
    rows = []
    for row in content["rows"]:
        faster = [f"{row['times_as_fast_as'].get(name, 1):.2f} x" for name in names]
        rows.append(
            [
                row["what"],
                f"{row['seconds']:.1f} s",
                f"{row['whole']:.1f} s",
                f"{row['megabytes']:.0f} MB",
                *(["–"] * len(names) if row["what"].endswith(STORED) else faster),
            ]
        )
    head = ["program", "seconds", "whole process", "peak memory", *(f"to {name}" for name in names)]
    wide, high = content["size"]
    what = f"{content['pictures']} JPEGs of {wide} x {high} pixels.\n\n"
    return (
        what
        + table(head, rows)
        + (
            "\n`stored` is a second run over the same folder, whose vectors were kept: there the "
            "whole process is what counts.\n"
        )
    )


def training(content: dict[str, Any]) -> str:
    """Steps of keshin and of open_clip."""
    rows = [
        [
            f"{row['shape']}, {row['batch']} pairs",
            f"in parts of {row['micro_batch']}" if row["micro_batch"] else "at once",
            f"{100 * row['patch_dropout']:.0f} %",
            *(f"{row['seconds'][name]:.2f} s" for name in ENGINES[:2]),
            f"{row['ratio']:.2f} x",
        ]
        for row in content["works"].values()
    ]
    return table(["step", "towers", "patches left out", *ENGINES[:2], "ratio"], rows)


def losses(content: dict[str, Any]) -> str:
    """Memory above the features, and time, of the loss with its gradients."""
    rows = [
        [
            f"{int(batch):,}",
            how,
            f"{row['bytes'] / 1e6:.0f} MB",
            f"{100 * row['bytes'] / (4 * int(batch) ** 2):.1f} %",
            f"{row['seconds']:.0f} s",
        ]
        for batch, ways in content["rows"].items()
        for how, row in ways.items()
    ]
    return table(["pairs", "loss", "memory", "of the dense logits", "time"], rows)


def installation(content: dict[str, Any]) -> str:
    """Bytes to fetch and on the disk, for inference."""
    sizes = content["installed"]
    rows = [[name, f"{size / 1e6:.0f} MB"] for name, size in sizes.items()]
    rows += [["keshin, download", f"{content['download'] / 1e6:.0f} MB"]]
    rows += [["open_clip with CUDA, download", f"{content['download_of_peer'] / 1e6:.0f} MB"]]
    return table(["what", "size"], rows)


def ratios(bars: list[tuple[str, float]]) -> str:
    """A bar chart of speed-ups, drawn by what shows the Markdown."""
    names = ", ".join(f'"{name}"' for name, _ in bars)
    values = ", ".join(f"{value:.2f}" for _, value in bars)
    return (
        "```mermaid\nxychart-beta horizontal\n"
        f'    title "times as fast as open_clip"\n    x-axis [{names}]\n'
        f"    bar [{values}]\n```\n"
    )


def performance_page() -> str:
    """docs/performance.md"""
    found = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("*.json")
    }
    parts = [
        NOTE,
        "# Speed\n",
        "As measured on the machine that each file of benchmarks/results names: the same random "
        "weights, the same inputs and equal threads, in alternating runs of one script; medians "
        "and their ratios. What was tried without gain, and figures that were missed, are in "
        "decisions.md.\n",
    ]
    bars: list[tuple[str, float]] = []
    texts = [found[n] for n in ("text_classifier", "text_classifier_int8") if n in found]
    if texts:
        parts += ["## Labels to class weights\n"]
        parts += ["ViT-B/32; `python benchmarks/text_classifier.py`.\n", text_classifiers(*texts)]
        bars += [(f"class weights, {t['mode']}", t["ratios"]["open_clip"]) for t in texts]
    if "encoder_speed" in found:
        parts += ["## Image towers\n", "`python benchmarks/encoder_speed.py`.\n"]
        parts += [encoders(found["encoder_speed"])]
        bars += [
            (f"{row['model']} x {row['batch']}, {row['mode']}", row["ratios"]["open_clip"])
            for row in found["encoder_speed"]["rows"]
        ]
    if "folder" in found:
        parts += ["## A folder of photographs to answers\n"]
        parts += ["ViT-B/32; `python benchmarks/folder.py`.\n", folders(found["folder"])]
        bars += [
            (row["what"].replace("keshin", "folder,"), row["times_as_fast_as"]["open_clip"])
            for row in found["folder"]["rows"]
            if row["what"].startswith("keshin") and not row["what"].endswith(STORED)
        ]
    if "first_answer" in found:
        parts += ["## From command to first answer\n"]
        parts += ["`python benchmarks/first_answer.py`.\n", first_answer(found["first_answer"])]
    if "training_speed" in found:
        parts += ["## A training step\n"]
        parts += ["`python benchmarks/training_speed.py`.\n", training(found["training_speed"])]
    if "loader_speed" in found:
        parts += ["## A training loader\n"]
        parts += ["`python benchmarks/loader_speed.py`.\n", loaders(found["loader_speed"])]
    if "loss_memory" in found:
        parts += ["## Memory of the loss\n"]
        parts += ["`python benchmarks/loss_memory.py`.\n", losses(found["loss_memory"])]
    if "install_size" in found:
        parts += ["## What an installation takes\n"]
        parts += ["`python benchmarks/install_size.py`.\n", installation(found["install_size"])]
    return "\n".join([*parts[:3], ratios(bars), *parts[3:]] if bars else parts)


def results_page() -> str:
    """docs/results.md"""
    parts = [NOTE, "# Results\n", "As measured; what was missed is said in decisions.md.\n"]
    for name, title, how, draw in SECTIONS:
        path = RESULTS / name
        if path.exists():
            content = json.loads(path.read_text(encoding="utf-8"))
            parts += [f"## {title}\n", how + "\n", draw(content)]
    return "\n".join(parts)


def recipe_page() -> str:
    """docs/reference/recipe.md, from the classes of keshin.train.recipe and keshin.core."""
    parts = [
        NOTE,
        "# The recipe of a training run\n",
        "A TOML file. Paths are relative to the recipe. A name that is not listed here is an "
        "error. `recipes/mini/recipe.toml` is a complete example.\n",
    ]
    for file, classes in (
        ("src/keshin/train/recipe.py", RECIPE_PARTS),
        ("src/keshin/train/methods.py", METHOD_PARTS),
        ("src/keshin/core/towers.py", TOWER_PARTS),
        ("src/keshin/core/config.py", MODEL_PARTS),
    ):
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        found = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
        for name, heading in classes.items():
            parts += [f"## {heading}\n", (ast.get_docstring(found[name]) or "") + "\n"]
            parts.append(table(["setting", "type", "default", "meaning"], _fields(found[name])))
    return "\n".join(parts)


RECIPE_PARTS = {
    "Recipe": "Top level",
    "ModelPart": "[model]",
    "TokenizerPart": "[tokenizer]",
    "DataPart": "[data]",
    "Source": "[[data.sources]]",
    "AugmentPart": "[augment]",
    "LossPart": "[loss]",
    "DistillPart": "[distill]",
    "OptimPart": "[optim]",
    "GuardPart": "[guard]",
    "RunPart": "[run]",
    "Validation": "[[validate]]",
    "SamplesPart": "[samples]",
}
METHOD_PARTS = {
    "FinishPart": "[finish]",
    "LockPart": "[lock]",
}
TOWER_PARTS = {
    "VisionTransformer": '[model.vision] with kind = "vit"',
    "ModifiedResNet": '[model.vision] with kind = "modified-resnet"',
    "ResNet": '[model.vision] with kind = "resnet"',
    "PooledVisionTransformer": '[model.vision] with kind = "vit-attention-pool"',
    "TextTransformer": '[model.text] with kind = "transformer"',
}
MODEL_PARTS = {
    "PreprocessFacts": "[model.preprocess]",
}


def _fields(node: ast.ClassDef) -> list[list[str]]:
    rows: list[list[str]] = []
    for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        said = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            said = " ".join(str(after.value.value).split())
        kind = ast.unparse(statement.annotation).replace("|", "or")
        default = ast.unparse(statement.value) if statement.value else "required"
        rows.append([f"`{statement.target.id}`", f"`{kind}`", f"`{default}`", said])
    return rows


def releases_page() -> str:
    """docs/reference/releases.md, from src/keshin/facts/releases.toml."""
    content = tomllib.loads((ROOT / "src/keshin/facts/releases.toml").read_text(encoding="utf-8"))
    parts = [
        NOTE,
        "# Known releases\n",
        "What `keshin models` lists and `keshin pull` fetches. How to use it: "
        "[the guide](../guides/models.md). ImageNet is the published zero-shot accuracy.\n",
    ]
    for name, family in content["families"].items():
        picture = content["colours"][family["colours"]]["mean"]
        shared = (
            f"{family['activation']}, {family['resize']}, mean {picture}, context "
            f"{family['context_length']}, {family['score']}, languages "
            f"{', '.join(family['languages'])}; {family['licence']}; {family['paper']}; "
            f"accuracy: {content['sources'][family['source']]}."
        )
        rows = []
        for row in family["releases"]:
            size = content["architectures"][row["architecture"]]
            own = ("activation", "resize", "colours", "context_length")
            differs = [f"{k}: {v}" for k, v in {**size, **row}.items() if k in own]
            if "source" in row:
                differs.append(f"accuracy: {content['sources'][row['source']]}")
            rows.append(
                [
                    f"`{row['name']}`",
                    str(size["image_size"]),
                    f"{size['parameters'] / 1e6:.0f} M",
                    f"{row['imagenet']:.1f} %" if "imagenet" in row else "",
                    ", ".join(differs),
                    "; ".join(row.get("uncertain", [])),
                ]
            )
        head = ["name", "pixels", "parameters", "ImageNet", "differs in", "uncertain"]
        doubts = [f"- {text}" for text in family.get("uncertain", [])]
        parts += [f"## {name}\n", shared + "\n"]
        parts += ["Uncertain of all:\n", "\n".join(doubts) + "\n"] if doubts else []
        parts.append(table(head, rows))
    return "\n".join(parts)


def weaknesses_table(content: dict[str, Any]) -> str:
    """What came out for each task, with its control."""

    def said(figure: dict[str, Any], value: float) -> str:
        sign = "+" if figure.get("unit") == "difference" and value > 0 else ""
        return f"{sign}{100 * value:.1f} %"

    rows = [
        [
            finding["title"]["en"],
            finding["main"]["name"],
            f"**{said(finding['main'], finding['main']['value'])}**",
            f"{100 * finding['main']['low']:.1f} to {100 * finding['main']['high']:.1f}",
            said(finding["main"], finding["main"]["chance"]),
            said(finding["control"], finding["control"]["value"]),
            finding["said"]["en"].split(" (")[0].rstrip("."),
        ]
        for finding in content["findings"]
    ]
    head = ["task", "measure", "value", "95 % interval", "chance", "control", "verdict"]
    labels = content["labels"]
    nearest = ", ".join(f"{pair['one']} / {pair['other']}" for pair in labels["pairs"][:5])
    return table(head, rows) + (
        f"\nModel `{content['model']}`, {content['count']} questions a task, seed "
        f"{content['seed']}, {content['processor seconds']:.0f} seconds of processor time. Of the "
        f"{labels['labels']} breeds of Oxford-IIIT Pets, by text alone: "
        f"{labels['said']['en']} The nearest: {nearest}.\n"
    )


def guide(name: str, draw: Callable[[dict[str, Any]], str]) -> str:
    """A guide that is written by hand, but for its table."""
    text = (ROOT / f"docs/guides/{name}.md").read_text(encoding="utf-8")
    content = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    before, start, rest = text.partition("<!-- table")
    mark, close, rest = rest.partition("-->\n")
    _, end, after = rest.partition("<!-- end of table -->")
    return "".join((before, start, mark, close, draw(content), end, after))


ABLATION = "benchmarks/ablations.py"
MEASURES = {
    "image to text recall@1": ("R@1, picture to text", 100),
    "text to image recall@1": ("R@1, text to picture", 100),
    "image to text recall@5": ("R@5, picture to text", 100),
    "text to image recall@5": ("R@5, text to picture", 100),
    "loss": ("loss", 1),
    "anchor": ("Tiny ImageNet", 100),
}
"""Name in the results -> name of the column, and what a value is multiplied by."""


def ablation(suite: dict[str, Any]) -> str:
    """Means over the seeds of a plain run, then differences to it with 95 % intervals."""
    shown = [name for name in MEASURES if name in suite["rows"][0]["values"]]
    rows = []
    for row in suite["rows"]:
        cells = [f"**{row['method']}**", row["what"], str(row["steps"]), str(len(row["seeds"]))]
        for name in shown:
            times = MEASURES[name][1]
            digits = 2 if times == 1 else 1
            found = {k: times * v for k, v in row.get("against_plain", row["values"])[name].items()}
            if "against_plain" in row:
                bounds = f"{found['low']:+.{digits}f} to {found['high']:+.{digits}f}"
                several = len(row["seeds"]) > 1
                cells.append(f"{found['mean']:+.{digits}f}" + f" ({bounds})" * several)
            else:
                cells.append(f"{found['mean']:.{digits}f}")
        rows.append(cells)
    return table(["method", "what", "steps", "seeds", *(MEASURES[n][0] for n in shown)], rows)


def ablations_page() -> str:
    """docs/ablations.md, from benchmarks/results/ablations.json."""
    content = json.loads((RESULTS / "ablations.json").read_text(encoding="utf-8"))
    text = ast.get_docstring(ast.parse((ROOT / ABLATION).read_text(encoding="utf-8"))) or ""
    about = text.split("\n\n", 2)[2].rsplit("\n\n", 1)[0]
    parts = [
        NOTE,
        "# What each way of learning more per hour is worth\n",
        f"`python {ABLATION} run`, batches of {content['batch']}, one core, PyTorch "
        f"{content['torch']}.\n",
        about.replace("``", "`") + "\n",
        "The first row of a table is the plain run: shares in per cent, and the loss at the "
        "temperature that suits the model best (ln(1000) = 6.91 is chance; R@1 by chance 0.1 %, "
        "R@5 0.5 %). The others are differences to the plain run of the same seed, with Student's "
        "95 % interval over the seeds. All are judged by the same 1,000 photographs, whose choice "
        "the interval does not cover. An interval that holds 0 shows nothing either way.\n",
    ]
    for name, suite in content["suites"].items():
        if suite["rows"]:
            said = f"{suite['what']}; learning rate {suite['learning_rate']:g}.\n"
            parts += [f"## `{name}`\n", said[0].upper() + said[1:], ablation(suite)]
    return "\n".join(parts)


def loaders(content: dict[str, Any]) -> str:
    """Pictures a second of the training loaders."""
    rows = [[name, f"{value:.0f}"] for name, value in content["pictures_per_second"].items()]
    return table(["loader", "pictures a second"], rows) + (
        f"\n{content['workers']} worker processes, {content['data']['pictures']:,} JPEGs with a "
        f"short side of 256 to 512 pixels; **{content['ratio']:.2f} x** open_clip's pipeline, "
        f"{content['ratio_same_crop']:.2f} x where both cut the same crop. Captions to ids and "
        "bytes to normalised numbers are in it.\n"
    )


def between(text: str, start: str, end: str, inside: str) -> str:
    """``text`` with what lies between two marks replaced."""
    before, mark, rest = text.partition(start)
    tail, close, rest = rest.partition("-->\n")
    _, stop, after = rest.partition(end)
    return "".join((before, mark, tail, close, inside, stop, after))


def scale_page() -> str:
    """docs/guides/scale.md: written by hand, but for its tables."""
    text = (ROOT / "docs/guides/scale.md").read_text(encoding="utf-8")
    content = json.loads((RESULTS / "scale_model.json").read_text(encoding="utf-8"))
    text = between(text, "<!-- table", "<!-- end of table -->", scale_tables(content))
    path = RESULTS / "plan_check.json"
    if path.exists():
        found = plan_checks(json.loads(path.read_text(encoding="utf-8")))
        text = between(text, "<!-- checks", "<!-- end of checks -->", found)
    return text


def scale_tables(content: dict[str, Any]) -> str:
    """What travels and how long it takes, from 8 to 1,024 devices."""
    said = (
        f"A batch of {content['batch']:,} pairs, {content['tokens']} tokens, devices that sustain "
        f"{content['flops'] / 1e12:.0f} TFLOP/s, micro-batches of at most 256 pairs. The last "
        "columns: exchanges as a share of exchanges and computing, if nothing hides behind "
        "anything, at so many GB/s sent by each device; over 50 % they dominate.\n"
    )
    parts = [said]
    for name, towers in content["towers"].items():
        for sharded, how in ((False, "DDP"), (True, "FSDP2")):
            rows = [row for row in towers["rows"] if row["sharded"] == sharded]
            speeds = list(rows[0]["share"])
            body = [
                [
                    f"{row['devices']:,}",
                    f"{row['pairs']:,} in {row['parts']}",
                    f"{row['memory'] / 1e9:.1f} GB",
                    f"{row['compute']:.2f} s",
                    f"{row['gradients and weights'] / 1e9:.2f} GB",
                    f"{row['features'] / 1e9:.2f} GB",
                    *(f"{100 * row['share'][speed]:.0f} %" for speed in speeds),
                ]
                for row in rows
            ]
            head = ["devices", "pairs of each", "memory", "computing", "weights and gradients sent"]
            head += ["features sent", *(f"{speed} GB/s" for speed in speeds)]
            parts += [f"### {name}, {how}\n", table(head, body)]
    return "\n".join(parts)


def plan_checks(content: dict[str, Any]) -> str:
    """Plans beside real runs."""
    rows = [
        [
            name,
            f"{row['planned']['memory'] / 1e6:.0f} MB",
            f"{row['real']['memory'] / 1e6:.0f} MB",
            f"{row['ratio']['memory']:.2f}",
            f"{row['planned']['seconds']:.0f} s",
            f"{row['real']['seconds']:.0f} s",
            f"{row['ratio']['seconds']:.2f}",
            f"{row['ratio']['processor_seconds']:.2f}",
        ]
        for name, row in content["works"].items()
    ]
    head = ["run", "memory planned", "real", "ratio", "time planned", "real", "ratio"]
    head += ["ratio of processor time"]
    said = (
        f"\nPlans beside real runs of {content['steps']} steps "
        "(`python benchmarks/plan_check.py`; "
        f"{content['machine']['threads']} threads of a processor; memory is the peak of the process"
        " above what it was before the model):\n\n"
    )
    return said + table(head, rows)


PAGES = {
    "docs/guides/kaokore.md": lambda: guide("kaokore", kaokore),
    "docs/guides/weaknesses.md": lambda: guide("weaknesses", weaknesses_table),
    "docs/guides/scale.md": scale_page,
    "docs/performance.md": performance_page,
    "docs/results.md": results_page,
    "docs/reference/recipe.md": recipe_page,
    "docs/reference/releases.md": releases_page,
}
if (RESULTS / "ablations.json").exists():
    PAGES["docs/ablations.md"] = ablations_page


def main() -> int:
    """Write the pages, or with ``--check`` name those that are out of date."""
    old = []
    for name, make in PAGES.items():
        path, text = ROOT / name, make()
        if "--check" in sys.argv:
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                old.append(name)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if old:
        print(f"Out of date: {', '.join(old)}. Run: python scripts/docs.py")
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main())
