"""What ``models`` and ``info`` say: one model as plain values, from the table or from its files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keshin import api
from keshin.core.checkpoint import Checkpoint
from keshin.core.config import describe
from keshin.core.library import how_to_get, pulled_models, target
from keshin.core.pulled import ANY_SHA256, Pulled, compute_digest, lies_here, read_record
from keshin.errors import CheckpointError
from keshin.facts.releases import MANY, Release, releases, sources

UNPINNED = "revision: the table pins none, so that pulling takes the newest"


def catalogue() -> list[dict[str, Any]]:
    """Every model: the embedded ones, then the table, then other repositories that were pulled."""
    rows = [
        {**_embedded(api.find_checkpoint(name)[0]), "state": "embedded"}
        for name in api.embedded_models()
    ]
    records = api.records_folder()
    for release in releases().values():
        pulled = read_record(records, release.name)
        here = pulled is not None or lies_here(release.repo, release.revision, release.layout)
        rows.append({**_known(release), "state": "here" if here else "known"})
    known = set(releases())
    for pulled in pulled_models(records):
        if pulled.name not in known:
            rows.append({**_other(pulled), "state": "here"})
    return rows


def matches(row: dict[str, Any], words: Sequence[str]) -> bool:
    """Whether a row has all words. Two letters are a language; "ja" is also among "multi"."""
    text = " ".join(str(row[key]) for key in ("name", "licence", "source", "state")).lower()
    for word in map(str.lower, words):
        languages = row["languages"] or ()
        spoken = word in languages or (word == "ja" and MANY in languages)
        if not spoken and (len(word) == 2 or word not in text):
            return False
    return True


def short(row: dict[str, Any]) -> dict[str, Any]:
    """A row for people."""
    accuracy = row["imagenet"]
    return {
        "name": row["name"],
        "state": row["state"],
        "parameters": f"{row['parameters'] / 1e6:,.0f} M" if row["parameters"] else "",
        "size": f"{row['bytes'] / 1e9:.2f} GB",
        "pixels": "x".join(map(str, row["image"] or ())),
        "languages": " ".join(row["languages"] or ()),
        "ImageNet": f"{accuracy:.1f} %" if accuracy is not None else "",
        "licence": row["licence"],
    }


def describe_model(name: str) -> dict[str, Any]:
    """All that is known of a model, without fetching anything. Raises ``CheckpointError``."""
    from keshin.core.foreign.known import STATEMENTS, MissingFacts

    wanted = None if Path(name).exists() else target(name)
    try:
        checkpoint, origin = api.find_checkpoint(name)
    except MissingFacts as missing:
        return {
            **_bare(Path(name)),
            "missing": {fact: STATEMENTS[fact] for fact in missing.names},
            "how to state it": str(missing).rpartition("\n")[2],
        }
    except CheckpointError:
        if wanted is None or wanted.release is None or _is_here(wanted.release):
            raise
        return {
            **_known(wanted.release),
            "state": how_to_get(wanted),
            "facts": _facts(wanted.release),
            "uncertain": _uncertain(wanted.release),
        }
    found = {
        **_summary(checkpoint),
        "origin": origin,
        "logit_scale": checkpoint.logit_scale,
        "fingerprint": checkpoint.fingerprint,
        "facts": describe(checkpoint.config),
    }
    if wanted is not None:
        found |= _of_the_hub(wanted.release, read_record(api.records_folder(), wanted.name))
    if wanted is not None and wanted.release is not None:
        differences = wanted.release.differences(found["facts"])
        found["uncertain"] = [*differences, *wanted.release.uncertain]
    return found


def _is_here(release: Release) -> bool:
    return lies_here(release.repo, release.revision, release.layout)


def _of_the_hub(release: Release | None, pulled: Pulled | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if release is not None:
        row = _known(release)
        found |= {key: row[key] for key in ("languages", "imagenet", "imagenet_source", "paper")}
    if pulled is not None:
        found |= {"repository": pulled.repo, "commit": pulled.commit, "folder": pulled.folder}
        found["files"] = {file.name: file.digest for file in pulled.files}
    return found


def _bare(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"path": str(path)}
    if path.is_file():
        from keshin.core.foreign.bare import describe_weights

        found["bytes"] = path.stat().st_size
        found["sha256"] = compute_digest(path, ANY_SHA256)
        found["known"] = describe_weights(path)
    return found


def _summary(checkpoint: Checkpoint) -> dict[str, Any]:
    config, infos = checkpoint.config, checkpoint.tensors.infos.values()
    return {
        "name": config.name,
        "parameters": sum(math.prod(info.shape) for info in infos),
        "bytes": sum(info.nbytes for info in infos),
        "image": list(config.vision.image_size),
        "embedding": config.embed_dim,
        "context": config.text.context_length,
        "licence": config.licence,
        "source": config.source,
    }


def _embedded(checkpoint: Checkpoint) -> dict[str, Any]:
    return {**_summary(checkpoint), "languages": None, "imagenet": None}


def _known(release: Release) -> dict[str, Any]:
    return {
        "name": release.name,
        "parameters": release.parameters,
        "bytes": release.about_bytes,
        "image": [release.image_size] * 2,
        "embedding": release.embed_dim,
        "context": release.context_length,
        "licence": release.licence,
        "source": release.repo,
        "languages": list(release.languages),
        "imagenet": release.imagenet,
        "imagenet_source": sources()[release.source] if release.imagenet else None,
        "paper": release.paper,
    }


def _other(pulled: Pulled) -> dict[str, Any]:
    empty = dict.fromkeys(("parameters", "image", "embedding", "context", "languages", "imagenet"))
    facts = {"name": pulled.name, "bytes": pulled.size, "source": pulled.repo}
    return {**empty, **facts, "licence": "see the repository"}


def _facts(release: Release) -> dict[str, Any]:
    names = ("architecture", "tag", "layout", "tokenizer", "cleaning", "score", "logit_bias")
    return {**{name: getattr(release, name) for name in names}, **release.statements()}


def _uncertain(release: Release) -> list[str]:
    return [*release.uncertain, *([] if release.revision else [UNPINNED])]
