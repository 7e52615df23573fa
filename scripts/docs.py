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


SECTIONS = (
    (
        "evaluation.json",
        "How good the embedded model is",
        "Held-out pictures; `python benchmarks/evaluation.py --data FOLDER --cifar-train FOLDER`. "
        "No probe learnt from test pictures. KaoKore has [its own page](guides/kaokore.md).",
        quality,
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
    "RunPart": "[run]",
    "Validation": "[[validate]]",
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


def weaknesses_page() -> str:
    """docs/guides/weaknesses.md: written by hand, but for its table."""
    text = (ROOT / "docs/guides/weaknesses.md").read_text(encoding="utf-8")
    content = json.loads((RESULTS / "weaknesses.json").read_text(encoding="utf-8"))
    before, start, rest = text.partition("<!-- table")
    mark, close, rest = rest.partition("-->\n")
    _, end, after = rest.partition("<!-- end of table -->")
    return "".join((before, start, mark, close, weaknesses_table(content), end, after))


PAGES = {
    "docs/guides/weaknesses.md": weaknesses_page,
    "docs/performance.md": performance_page,
    "docs/results.md": results_page,
    "docs/reference/recipe.md": recipe_page,
    "docs/reference/releases.md": releases_page,
}


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
