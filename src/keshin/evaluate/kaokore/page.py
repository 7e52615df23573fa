"""The report as one HTML file, in English or Japanese (see ``keshin.pages``).

It shows thumbnails of mistakes, which are KaoKore's: the file is the user's own, made from pictures
that he fetched from the holders.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keshin.errors import PictureError
from keshin.evaluate.kaokore.answer import answer, best_zero_shot, words_of
from keshin.evaluate.kaokore.drawn import few_curve, method_bars
from keshin.evaluate.kaokore.results import Mistake, Study
from keshin.facts import kaokore as facts
from keshin.pages import page as pages
from keshin.pages.thumbnails import thumbnail

TEMPLATE = Path(__file__).with_name("page.html.jinja")
SIDE = 112
PARTS = ("methods", "few", "kinds", "mistakes", "status", "gender", "prompts", "data")
PROMPTS_SHOWN = 12
"""Of each language, the best on train."""
OWN_NAMES = ("probe", "finetuned", "title")
"""Methods whose name in the table of words has "_name", since the key is a sentence there."""


def page(study: Study, language: str, root: Path | None = None) -> str:
    """HTML. ``root`` is the folder with the pictures; None shows none of them."""
    words = words_of(language)
    other = "ja" if language == "en" else "en"
    return pages.render(
        TEMPLATE,
        words,
        title=words["title"],
        sections=[(part, words[f"heading_{part}"]) for part in PARTS],
        other=words_of(other),
        study=study,
        answer=answer(study, language),
        other_answer=answer(study, other),
        name=lambda key: name_of(key, words),
        columns=_columns(study, words),
        bars=pages.safe(method_bars(study, words, lambda key: name_of(key, words))),
        curve=pages.safe(few_curve(study, best_zero_shot(study), words)),
        told=[key for key in ("zero_shot_en", "probe", "finetuned") if study.method(key)],
        gallery=lambda key, missed: _gallery(study, key, missed, root),
        plain=[
            (words["heading_status"], "status", facts.STATUS),
            (words["heading_gender"], "gender", facts.GENDER),
        ],
        published=facts.facts().published,
        prompts=_prompts(study),
        yardstick=_yardstick(words),
        dictionary_rule=words["dictionary_rule"].format(rule=facts.prompts().dictionary_rule),
        **_data(study, words),
    )


def name_of(key: str, words: Mapping[str, str]) -> str:
    """What a method is called."""
    return words.get(f"{key}_name" if key in OWN_NAMES else key, key)


def _columns(study: Study, words: Mapping[str, str]) -> list[tuple[str, str]]:
    columns = [(words["same_pages"], "dev"), (words["unseen_works"], "apart")]
    if study.final:
        columns += [(words["test_split"], "test"), (words["test_apart"], "test_apart")]
    return columns


def _prompts(study: Study) -> list[Any]:
    found = []
    for language in ("en", "ja"):
        of = sorted((p for p in study.prompts if p.language == language), key=lambda p: -p.train)
        found += of[:PROMPTS_SHOWN]
    return found


def _yardstick(words: Mapping[str, str]) -> str:
    known = facts.facts().yardstick
    return words["yardstick"].format(
        name=known.name,
        area=f"{100 * known.area:.1f}",
        balanced=f"{100 * known.balanced:.1f}",
        area_apart=f"{100 * known.area_apart:.1f}",
        balanced_apart=f"{100 * known.balanced_apart:.1f}",
        area_within=f"{100 * known.area_within:.1f}",
    )


def _data(study: Study, words: Mapping[str, str]) -> dict[str, str]:
    known = facts.facts()
    missing = {split: n for split, n in study.missing.items() if n}
    listed = ", ".join(f"{split} {n}" for split, n in missing.items())
    return {
        "data": words["data"].format(
            version=study.version or words["version_unknown"],
            faces=", ".join(f"{split} {n}" for split, n in study.faces.items()),
            attribution=known.attribution,
            licence=known.licence,
        ),
        "missing": words["missing"].format(missing=listed) if missing else "",
        "reproduce": words["reproduce"].format(
            model=study.model,
            fingerprint=study.fingerprint[:16],
            keshin=study.keshin,
            packages=", ".join(f"{name} {at}" for name, at in study.packages.items()),
            labels=study.labels_sha256[:16],
            made=study.made,
        ),
    }


def _gallery(
    study: Study, key: str, missed: bool, root: Path | None
) -> list[tuple[Mistake, bytes]]:
    some = [m for m in study.mistakes if m.method == key and (m.score <= 0) == missed]
    return [(m, _small(root / m.file) if root is not None else b"") for m in some]


def _small(path: Path) -> bytes:
    """Its thumbnail; empty if it cannot be read."""
    try:
        return thumbnail(path, SIDE).content
    except PictureError:
        return b""
