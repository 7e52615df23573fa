"""An evaluation in words: what was asked, how good, against chance, how sure, what to mind."""

from __future__ import annotations

from collections.abc import Iterator

from keshin.evaluate.results import Difference, Evaluation, ProbeResult, RiskPoint
from keshin.pages import numbers
from keshin.pages.numbers import p_value, percent
from keshin.pages.words import Words

FEW_PICTURES, FEW_OF_CLASS = 200, 10
DOUBTFUL = 0.05
FROM_ZERO = "zero"
"""The curve that the paper's Figure 7 is about: a probe that knows no texts."""
CALIBRATED = 0.03
"""Mean error of the scores up to which they are said to be true."""


def metric_name(name: str, words: Words) -> str:
    """A metric as a language calls it."""
    return words.get(f"metric_{name}", name)


def summary(one: Evaluation, words: Words) -> list[str]:
    """Paragraphs; ``**`` marks what is to stand out."""
    paragraphs = [_asked(one, words), " ".join(_good(one, words)), " ".join(_sure(one, words))]
    paragraphs.append(" ".join(_compared(one, words)))
    return [paragraph for paragraph in paragraphs if paragraph]


def cautions(one: Evaluation, words: Words) -> list[str]:
    """What to be careful about, the most important first."""
    return list(_cautions(one, words))


def trust_said(one: Evaluation, words: Words) -> dict[str, str]:
    """Sentences with the intervals of the calibration error and of the area under the risk."""
    said = {}
    found, area = one.calibration, one.risk_area
    if found is not None and found.interval is not None and found.interval_after is not None:
        (low, high), (low_after, high_after) = found.interval, found.interval_after
        values = {
            "error": found.error, "corrected": found.corrected or 0.0, "low": low, "high": high,
            "error_after": found.error_after, "corrected_after": found.corrected_after or 0.0,
            "low_after": low_after, "high_after": high_after,
        }  # fmt: skip
        said["error"] = words["error_said"].format(**{k: percent(v) for k, v in values.items()})
    if area is not None:
        values = {name: getattr(area, name) for name in area.__struct_fields__}
        said["area"] = words["risk_area_said"].format(**{k: percent(v) for k, v in values.items()})
    return said


def _asked(one: Evaluation, words: Words) -> str:
    templates = one.prompts.templates
    return words[_kind(one)].format(
        model=one.model.name,
        data=one.data.title,
        pictures=f"{one.data.pictures:,}",
        texts=f"{len(one.prompts.names):,}",
        classes=f"{len(one.prompts.names):,}",
        templates=words["one_template"]
        if len(templates) == 1
        else words["many_templates"].format(n=len(templates)),
        prompts=words[f"prompts_{one.prompts.source}"],
    )


def _kind(one: Evaluation) -> str:
    if one.retrieval:
        return "asked_retrieval"
    return "asked" if one.confusion else "asked_several"


def _good(one: Evaluation, words: Words) -> Iterator[str]:
    main = one.main
    yield words["good"].format(
        value=percent(main.value),
        metric=metric_name(main.name, words),
        low=percent(main.low),
        high=percent(main.high),
    )
    against = "above" if main.low > main.chance else "below" if main.high < main.chance else "even"
    yield words[f"against_chance_{against}"].format(chance=percent(main.chance))
    uneven = one.data.largest_class > 1.5 * max(main.chance, 1e-9)
    if uneven and one.confusion and main.name == "accuracy":
        worse = one.data.largest_class > main.value
        said = words["against_largest_worse" if worse else "against_largest_better"]
        yield said.format(largest=percent(one.data.largest_class))


def _sure(one: Evaluation, words: Words) -> Iterator[str]:
    if one.calibration is not None:
        found = one.calibration
        kind = "over" if found.temperature > 1 else "under"
        kind = "true" if found.error <= CALIBRATED or found.p > DOUBTFUL else kind
        yield words[f"scores_{kind}"].format(
            ece=percent(found.error),
            chance=percent(found.chance),
            after=percent(found.error_after),
            temperature=f"{found.temperature:.2f}",
        )
    if one.risk:
        half: RiskPoint = min(one.risk, key=lambda point: abs(point.coverage - 0.5))
        yield words["answering_half"].format(
            risk_half=percent(half.risk), risk_all=percent(one.risk[-1].risk)
        )


def _compared(one: Evaluation, words: Words) -> Iterator[str]:
    if one.ensembling is not None:
        kind = {1: "helps", 0: "even", -1: "hurts"}[_sign(one.ensembling)]
        yield words[f"ensembling_{kind}"].format(
            **points(one.ensembling), p=p_value(one.ensembling.p)
        )
    if one.probe is not None:
        yield _probe(one.probe, words)
    if one.few_shot is not None:
        most = max(p.shots for curve in one.few_shot.curves.values() for p in curve)
        needed = one.few_shot.overtakes.get(FROM_ZERO)
        if needed is None:
            yield words["overtakes_never"].format(most=most)
        elif needed <= 1:
            yield words["overtakes_at_once"]
        else:
            yield words["overtakes_at"].format(n=f"{needed:.1f}")


def _probe(probe: ProbeResult, words: Words) -> str:
    sign = _sign(probe.versus)
    kind = {1: "better", 0: "even", -1: "worse"}[sign]
    versus = probe.versus
    if sign < 0:  # said of zero-shot
        versus = Difference(
            versus.second, versus.first, -versus.difference, -versus.high, -versus.low,
            versus.p, versus.method,
        )  # fmt: skip
    return words[f"probe_{kind}"].format(
        trained=f"{probe.trained_on:,}", value=percent(probe.score.value), **points(versus)
    )


def points(found: Difference) -> dict[str, str]:
    """A difference and its interval in percentage points, with signs."""
    return {
        "difference": numbers.points(found.difference),
        "low": numbers.points(found.low),
        "high": numbers.points(found.high),
    }


def _sign(found: Difference) -> int:
    """1 or -1 where the interval leaves no doubt, else 0."""
    return (found.low > 0) - (found.high < 0)


def _cautions(one: Evaluation, words: Words) -> Iterator[str]:
    if one.order is not None and one.order.suspicious:
        yield words["careful_order"].format(sentence=one.order.sentence)
    if one.data.pictures < FEW_PICTURES:
        yield words["careful_few"].format(n=one.data.pictures)
    k = len(one.classes)
    few = sum(0 < found.count < FEW_OF_CLASS for found in one.classes)
    absent = sum(found.count == 0 for found in one.classes)
    if few:
        yield words["careful_small_classes"].format(n=few, k=k, least=FEW_OF_CLASS)
    if absent:
        yield words["careful_absent"].format(n=absent)
    if one.data.failed:
        yield words["careful_failed"].format(n=f"{one.data.failed:,}")
    if one.data.limited:
        yield words["careful_limited_retrieval" if one.retrieval else "careful_limited"]
    yield from (words["careful_labels"].format(sentence=said) for said in one.warnings[:8])
    if one.model.mode != "fp32":
        yield words["careful_mode"].format(mode=one.model.mode)
    if one.model.decode == "fast":
        yield words["careful_decode"]
    if one.probe is not None and one.probe.crossed:
        yield words["careful_cross"]
    if one.calibration is not None:
        yield words["careful_softmax"].format(k=len(one.prompts.names))
    yield words["careful_one_set"]
    yield words["careful_tuned"]
