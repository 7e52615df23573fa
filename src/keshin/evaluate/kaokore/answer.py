"""The answer in words, made of the numbers alone, in English and Japanese."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from keshin.errors import KeshinError
from keshin.evaluate.kaokore.results import Earlier, KindRow, Method, Study
from keshin.evaluate.kaokore.zero_shot import untouched
from keshin.facts import kaokore as facts
from keshin.pages.numbers import NOTHING, percent, with_interval
from keshin.pages.words import Words, words_in
from keshin.statistics.figure import Figure

WORDS = Path(__file__).with_name("words.toml")
CLEAR = 0.5
"""The lower end of the interval must be above it for any verdict but "no"."""
LITTLE, PARTLY = 0.7, 0.85
"""Values below which the verdict is "a little", and "in part"."""
OTHERS = "others without such a tag"
BEHIND = "seen from behind"


def words_of(language: str) -> Words:
    """The texts of a language. Raises ``KeshinError`` for one that is not there."""
    return words_in(WORDS, language)


def ranged(figure: Figure | None) -> str:
    """A value with its interval."""
    return NOTHING if figure is None else with_interval(figure.value, figure.low, figure.high)


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
    language = best.key[-2:]
    said += _untouched(study, language, words)
    blind = study.method(f"blind_{language}")
    if blind is not None:
        apart = blind.apart
        said.append(
            words["blind"].format(
                dev=ranged(blind.dev.area),
                apart=ranged(apart.area if apart else None),
                within=ranged(apart.within if apart else None),
            )
        )
    said.append(words["as_answered"].format(value=ranged(best.dev.as_answered)))
    return said


def _untouched(study: Study, language: str, words: Mapping[str, str]) -> list[str]:
    """What words are worth that nobody chose."""
    plain, looked_up = study.method(f"plain_{language}"), study.method(f"dictionary_{language}")
    if plain is None or looked_up is None:
        return []
    ways = untouched("incarnation", language)
    own, other = (ways[key].words.classes for key in ("plain", "dictionary"))
    within = [method.apart.within if method.apart else None for method in (plain, looked_up)]
    works = any(figure is not None and figure.low > CLEAR for figure in within)
    return [
        words["untouched"].format(
            plain=ranged(plain.dev.area),
            dictionary=ranged(looked_up.dev.area),
            plain_within=ranged(within[0]),
            dictionary_within=ranged(within[1]),
            incarnation=_listed(own["incarnation"], words),
            people=_listed(own["people"], words),
            dictionary_incarnation=_listed(other["incarnation"], words),
            dictionary_people=_listed(other["people"], words),
            verdict=words["untouched_works" if works else "untouched_chance"],
        )
    ]


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
    if not study.few:
        return []
    never = words["few_never"].format(most=max(entry.shots for entry in study.few))
    places = (("few_dev", study.overtakes), ("few_within", study.overtakes_within))
    said = []
    for key, found in places:
        counts = {s: words["few_count"].format(n=n) if n else never for s, n in found.items()}
        alike = len(set(counts.values())) == 1 and f"{key}_same" in words
        said.append(words[f"{key}_same" if alike else key].format(**counts))
    return said


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
                times=words["times_again"].format(n=len(study.earlier) + 1)
                if study.earlier
                else words["times_once"],
                zero=ranged(best.test.area),
                probe=ranged(probe.test.area),
                title=ranged(title.test.area),
                within=ranged(best.test.within),
                balanced=ranged(best.test.balanced),
                probe_balanced=ranged(probe.test.balanced),
            )
        )
        said += [_before(one, words) for one in study.earlier]
    else:
        said.append(words["test_not"])
    return said


def _before(earlier: Earlier, words: Mapping[str, str]) -> str:
    """What the test split said when it was asked before."""
    areas, balanced = earlier.areas, earlier.balanced
    zero = max((key for key in areas if key.startswith("zero_shot_")), key=lambda k: areas[k].value)
    return words["test_again"].format(
        made=earlier.made,
        note=f" ({earlier.note})" if earlier.note else "",
        zero=ranged(areas[zero]),
        probe=ranged(areas.get("probe")),
        balanced=ranged(balanced[zero]),
        probe_balanced=ranged(balanced.get("probe")),
    )
