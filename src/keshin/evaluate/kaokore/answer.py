"""The answer in words, made of the numbers alone, in English and Japanese."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from keshin.errors import KeshinError
from keshin.evaluate.kaokore.results import KindRow, Method, Study
from keshin.facts import kaokore as facts
from keshin.statistics.figure import Figure

WORDS = Path(__file__).with_name("words.toml")
CLEAR = 0.5
"""The lower end of the interval must be above it for any verdict but "no"."""
LITTLE, PARTLY = 0.7, 0.85
"""Values below which the verdict is "a little", and "in part"."""
OTHERS = "others without such a tag"
BEHIND = "seen from behind"


def words_of(language: str) -> Mapping[str, str]:
    """The texts of a language. Raises ``KeshinError`` for one that is not there."""
    found = _words()
    if language not in found:
        raise KeshinError(
            f"There is no report in the language '{language}'. There are: {', '.join(found)}."
        )
    return found[language]


@cache
def _words() -> dict[str, dict[str, str]]:
    return tomllib.loads(WORDS.read_text(encoding="utf-8"))


def percent(value: float) -> str:
    """One digit after the point, or none where there is nothing to say."""
    return f"{100 * value:.1f} %"


def ranged(figure: Figure | None) -> str:
    """A value with its interval."""
    if figure is None:
        return "–"
    return f"{100 * figure.value:.1f} % [{100 * figure.low:.1f}, {100 * figure.high:.1f}]"


def answer(study: Study, language: str) -> list[str]:
    """Paragraphs; ``**`` marks what is strong, ``*`` what is stressed, backquotes what is typed."""
    words = words_of(language)
    best = best_zero_shot(study)
    paragraphs = [
        [verdict(study, language)],
        _zero_shot(study, best, words),
        _scroll(study, words),
        _training(study, words),
        _examples(study, words),
        _beings(study, language),
        _cautions(study, best, words),
    ]
    joint = " " if language == "en" else ""
    return [joint.join(sentences) for sentences in paragraphs if sentences]


def best_zero_shot(study: Study) -> Method:
    """English or Japanese: what the train split preferred, whatever came of it on dev."""
    chosen = {p.language: p.train for p in study.prompts if p.chosen}
    language = max(chosen, key=lambda name: chosen[name])
    found = study.method(f"zero_shot_{language}")
    if found is None:
        raise KeshinError("The study holds no zero-shot answer.")
    return found


def verdict(study: Study, language: str) -> str:
    """One sentence, by the area within works that hold both kinds."""
    words = words_of(language)
    best = best_zero_shot(study)
    within = best.apart.within if best.apart else None
    if within is None:
        raise KeshinError("No work here holds both incarnations and people; take all of train.")
    key = "no"
    if within.low > CLEAR:
        key = "little" if within.value < LITTLE else "partly" if within.value < PARTLY else "well"
    return words[f"verdict_{key}"].format(
        model=study.model,
        within=percent(within.value),
        low=percent(within.low),
        high=percent(within.high),
    )


def _zero_shot(study: Study, best: Method, words: Mapping[str, str]) -> list[str]:
    said = [_asked(study, best, words, "zero_shot")]
    said += [
        _asked(study, method, words, "zero_shot_other")
        for method in study.methods
        if method.key.startswith("zero_shot_") and method is not best
    ]
    plain = study.method(f"plain_{best.key[-2:]}")
    if plain is not None:
        said.append(_asked(study, plain, words, "plain"))
    said.append(words["as_answered"].format(value=ranged(best.dev.as_answered)))
    return said


def _asked(study: Study, method: Method, words: Mapping[str, str], key: str) -> str:
    """A sentence on one way to ask, with its words."""
    language, (name, templates) = method.key[-2:], method.detail.split(" / ")
    known = facts.prompts()
    classes = next(
        w.classes for w in known.words["incarnation"] if (w.name, w.language) == (name, language)
    )
    texts = next(
        t.templates for t in known.templates if (t.name, t.language) == (templates, language)
    )
    return words[key].format(
        language=words[f"language_{language}"],
        incarnation=_listed(classes["incarnation"], words),
        people=_listed(classes["people"], words),
        templates=" | ".join(texts),
        candidates=sum(p.language == language for p in study.prompts),
        dev=ranged(method.dev.area),
        apart=ranged(method.apart.area if method.apart else None),
        balanced=ranged(method.apart.balanced if method.apart else None),
    )


def _listed(names: Sequence[str], words: Mapping[str, str]) -> str:
    return words["or"].join(names)


def _scroll(study: Study, words: Mapping[str, str]) -> list[str]:
    title = study.method("title")
    return (
        [] if title is None else [words["title_trap"].format(title=percent(title.dev.area.value))]
    )


def _training(study: Study, words: Mapping[str, str]) -> list[str]:
    said: list[str] = []
    gains: list[Figure] = []
    for key in ("probe", "finetuned"):
        method = study.method(key)
        if method is None:
            continue
        apart = method.apart
        text = words[key] if apart else words["finetuned_official"]
        said.append(
            text.format(
                trained=study.faces["train"],
                dev=ranged(method.dev.area),
                apart=ranged(apart.area) if apart else "",
                within=ranged(apart.within) if apart else "",
            )
        )
        if key in study.gains:
            gains.append(study.gains[key])
    if gains:
        most = max(gains, key=lambda gain: gain.value)
        key = "helps" if most.low > 0 else "hurts" if most.high < 0 else "even"
        said.append(
            words[f"training_{key}"].format(
                gain=_points(most.value), low=_points(most.low), high=_points(most.high)
            )
        )
    return said


def _points(value: float) -> str:
    return f"{100 * value:+.1f}".replace("-", "−")


def _examples(study: Study, words: Mapping[str, str]) -> list[str]:
    most = study.few[-1].shots if study.few else 0
    pairs = (("few", study.overtakes), ("few_within", study.overtakes_within))
    return [words[key if n else f"{key}_never"].format(n=n, most=most) for key, n in pairs if most]


def _beings(study: Study, language: str) -> list[str]:
    words = words_of(language)
    said = []
    for key, sentence in (("probe", "kinds_best"), ("zero_shot_en", "kinds_zero")):
        rows = [r for r in study.kinds if r.incarnation and r.en not in (OTHERS, BEHIND)]
        rows = [r for r in rows if key in r.called]
        if len(rows) < 2:
            continue
        best, worst = max(rows, key=_called(key)), min(rows, key=_called(key))
        said.append(
            words[sentence].format(
                best=getattr(best, language),
                best_share=_share(best, key),
                worst=getattr(worst, language),
                worst_share=_share(worst, key),
            )
        )
    return [*said, words["not_of_look"]]


def _called(key: str) -> Callable[[KindRow], float]:
    return lambda row: row.called[key]


def _share(row: KindRow, key: str) -> str:
    return f"{100 * row.called[key]:.0f} % / {row.count}"


def _cautions(study: Study, best: Method, words: Mapping[str, str]) -> list[str]:
    share = 1 - study.incarnations["dev"] / study.faces["dev"]
    said = [
        words["base_rate"].format(share=percent(share)),
        words["care"].format(
            dev=study.incarnations["dev"], both=study.works_with_both, works=study.works
        ),
    ]
    probe, title = study.method("probe"), study.method("title")
    if best.test and probe and probe.test and title and title.test:
        said.append(
            words["test_done"].format(
                zero=ranged(best.test.area),
                probe=ranged(probe.test.area),
                title=ranged(title.test.area),
                within=ranged(best.test.within),
                balanced=ranged(best.test.balanced),
                probe_balanced=ranged(probe.test.balanced),
            )
        )
    else:
        said.append(words["test_not"])
    return said
