"""The words of a comparison, from its numbers. A lead that an interval does not exclude to be none
is never one."""

from collections.abc import Sequence
from math import isnan

from recsweep.comparison.contrasts import Contrast, Row, Versus, best_beforehand, worth
from recsweep.comparison.resampling import ONE_SEED, Difference, turns
from recsweep.evaluation import CAUTION, is_subset
from recsweep.measures import F1_AT_HALF, F1_AT_THRESHOLD, shown
from recsweep.measures import measure as measure_of

LEVEL = 0.05
"""Level of the family of tests that Holm corrects for."""


def words(contrast: Contrast) -> list[str]:
    """Sentences on what the numbers say, the most important first."""
    sentences = [
        main_verdict(contrast),
        leaders(contrast),
        threshold(contrast),
        cost(contrast),
        collapse(contrast),
        limits(contrast),
        caution(contrast),
    ]
    return [clause for clause in sentences if clause]


def caution(contrast: Contrast) -> str:
    """What is to be known of lists that are chosen from a few items."""
    return CAUTION if is_subset(contrast.candidates) else ""


def main_verdict(contrast: Contrast) -> str:
    """Whether a model is ahead of the best baseline by the measure that was chosen."""
    if len(contrast.rows) == 1:
        return (
            f"{contrast.rows[0].name} stands alone: nothing on the same data and split to compare "
            "it with."
        )
    versus, measure = contrast.versus.get(contrast.measure), measure_of(contrast.measure).title
    if versus is None or not versus.differences:
        leader = contrast.leader(contrast.measure).name
        return f"{leader} leads by {measure}; no interval can be given for it."
    is_baseline = contrast[versus.reference].is_baseline
    baseline = "the best baseline" if is_baseline else "the best of these models"
    baseline += _beforehand(contrast, versus)
    best = _contender(contrast, versus)
    if best is None:
        return (
            f"By {measure}, {versus.reference}, {baseline}, leads: none of the other models is "
            f"ahead of it (over {next(iter(versus.differences.values())).levels})."
        )
    first, second = _distinct_values(best, contrast[versus.reference], contrast.measure)
    return (
        f"By {measure}, {best.name} has {first} and {baseline}, {versus.reference}, {second}: "
        f"{_gap_in_words(versus, best.name, contrast.measure)}"
        f"{_one_user_in_words(contrast, best.name, contrast.measure)}."
    )


def _contender(contrast: Contrast, versus: Versus) -> Row | None:
    """The best net, else the best of the rest; None where it is behind the reference."""
    net = contrast.best_net
    names = list(versus.differences) if net is None or net not in versus.differences else [net]
    best = max((contrast[name] for name in names), key=lambda row: worth(row, contrast.measure))
    leads = worth(best, contrast.measure) > worth(contrast[versus.reference], contrast.measure)
    return best if leads or net == best.name else None


def _gap_in_words(versus: Versus, name: str, measure: str) -> str:
    """What is left of a difference: of its interval, and of its correction for the models that were
    compared."""
    difference, corrected = versus.differences[name], versus.corrected[name]
    number = versus.num_tested
    better = (difference.value > 0) == measure_of(measure).maximise
    over = f" over {difference.levels}" if difference.levels else ""
    gap = (
        f"{'ahead' if better else 'behind'} by {abs(difference.value):.4f} "
        f"(95 % interval of the difference {_interval(difference)}{over})"
    )
    if difference.value == 0:
        return "the two are level"
    if difference.no_verdict:
        return f"{gap}, of which there is no verdict ({difference.no_verdict})"
    if not difference.excludes_zero:
        return f"{gap}, which can't be told from no difference"
    if number == 1:
        return f"{gap}, more than chance explains (p {_p(difference.p_value)})"
    if corrected > LEVEL:
        return (
            f"{gap}; the interval excludes zero, but after Holm's correction for the {number} "
            f"models compared the difference can't be told from chance (p {_p(corrected)})"
        )
    return (
        f"{gap}, more than chance explains, also after Holm's correction for {number} models (p "
        f"{_p(corrected)})"
    )


def _one_user_in_words(contrast: Contrast, name: str, measure: str) -> str:
    """What is to be said of a difference that hangs on one user: what it is without, and per
    user."""
    versus = contrast.versus[measure]
    difference = versus.differences[name]
    influence = difference.influence
    if influence is None or not difference.hangs:
        return ""
    clause = (
        f"; not covered: it hangs on one user (index {influence.user}, {100 * influence.share:.0f} "
        "% of the jackknife variance)"
    )
    if name in versus.without:
        without = versus.without[name]
        clause += f", without whom the difference is {without.value:+.4f} ({_interval(without)})"
        if turns(difference, without):
            what = "sign" if difference.value * without.value < 0 else "verdict"
            clause += f" and the {what} turns"
    own = contrast.versus.get(f"{measure}_per_user")
    if own is not None and name in own.differences and own.reference == versus.reference:
        beside = own.differences[name]
        clause += (
            f"; {measure_of(measure).title} per user: {beside.value:+.4f} ({_interval(beside)}"
            f"{', which hangs on one user too' if beside.hangs else ''})"
        )
    return clause


def leaders(contrast: Contrast) -> str:
    """Sentence on who has the best value of which measure."""
    if len(contrast.rows) == 1:
        return ""
    by_model: dict[str, list[str]] = {}
    for measure in shown("leading"):
        if measure.name in contrast.measures:
            leader = contrast.leader(measure.name).name
            by_model.setdefault(leader, []).append(measure.title)
    if not by_model:
        return ""
    if len(by_model) == 1:
        (name,) = by_model
        return f"{name} has the best value of every measure: {_listed(by_model[name])}."
    led = "; ".join(f"{name} by {_listed(titles)}" for name, titles in by_model.items())
    return f"The best values: {led}."


def threshold(contrast: Contrast) -> str:
    """Whether the lead in F1 at 0.5, of the net that is best there, is one of the model or one of
    the threshold."""
    half, tuned = contrast.versus.get(F1_AT_HALF.name), contrast.versus.get(F1_AT_THRESHOLD.name)
    nets = [row for row in contrast.rows if not row.is_baseline]
    net = best_beforehand(nets, F1_AT_HALF.name, contrast.part)[0].name if nets else None
    if not half or not tuned or net is None:
        return ""
    if net not in half.differences or net not in tuned.differences:
        return ""
    if not contrast[half.reference].is_baseline:
        return ""
    at_half, at_tuned = (
        _against_baseline(contrast[net], contrast, measure.name)
        for measure in (F1_AT_HALF, F1_AT_THRESHOLD)
    )
    at_half = f"At the fixed threshold of 0.5, {net} {at_half}"
    at_tuned = f"with thresholds chosen on validation it {at_tuned}"
    first, second = half.differences[net].value, tuned.differences[net].value
    sure = second > 0 and _is_sure(tuned, net)
    if first <= 0 and second <= 0:
        return f"{at_half}; {at_tuned}: it leads at neither."
    if first <= 0 or not _is_sure(half, net):
        return f"{at_half}; {at_tuned}: " + (
            "it is better than 0.5 lets it look." if sure else "it has no sure lead at either."
        )
    if second <= 0:
        return (
            f"{at_half}; {at_tuned}. The lead does not survive tuning the threshold: it was one "
            "of the threshold."
        )
    if not sure:
        return (
            f"{at_half}; {at_tuned}. Once the threshold is tuned, the lead can't be told from "
            "chance."
        )
    return f"{at_half}; {at_tuned}. The lead survives tuning the threshold."


def _is_sure(versus: Versus, name: str) -> bool:
    """Whether a difference is more than chance, also after the correction."""
    return versus.differences[name].excludes_zero and versus.corrected[name] <= LEVEL


def _against_baseline(net: Row, contrast: Contrast, measure: str) -> str:
    versus = contrast.versus[measure]
    first, second = _distinct_values(net, contrast[versus.reference], measure)
    return (
        f"has F1 {first} against {second} of the best baseline there"
        f"{_beforehand(contrast, versus)}, {versus.reference} "
        f"({_difference_in_words(versus, net.name)}"
        f"{_one_user_in_words(contrast, net.name, measure)})"
    )


def _beforehand(contrast: Contrast, versus: Versus) -> str:
    """Words on where a reference was chosen, lest somebody wonders why another has more on the part
    that is compared."""
    return "" if versus.chosen_on == contrast.part else f" by {versus.chosen_on}"


def _difference_in_words(versus: Versus, name: str) -> str:
    difference, corrected = versus.differences[name], versus.corrected[name]
    gap = f"difference {_interval(difference)}"
    if difference.no_verdict:
        return f"{gap}, no verdict: {difference.no_verdict}"
    if not difference.excludes_zero:
        return f"{gap}, can't be told from none"
    but = "but " if corrected > LEVEL else ""
    return f"{gap}, {but}p {_p(corrected)} after Holm's correction"


def cost(contrast: Contrast) -> str:
    """What the best net gains and pays beside the chosen measure: other measures, time, size, new
    users."""
    if not contrast.paid or contrast.best_net is None or contrast.reference is None:
        return ""
    net, baseline = contrast[contrast.best_net], contrast[contrast.reference]
    kinds = "it is worse", "it is better", "no difference can be told", "there is no verdict"
    by_kind: dict[str, list[str]] = {kind: [] for kind in kinds}
    for measure in shown("paid"):
        if measure.name in contrast.paid and measure.name != contrast.measure:
            difference = contrast.paid[measure.name]
            kind = kinds[(difference.value > 0) == measure.maximise]
            if not difference.excludes_zero:
                kind = kinds[3] if difference.no_verdict else kinds[2]
            first, second = _distinct_values(net, baseline, measure.name)
            by_kind[kind].append(
                f"{measure.title} ({first} against {second}"
                f"{', which hangs on one user' if difference.hangs else ''})"
            )
    phrases = [f"{kind} by {_listed(titles)}" for kind, titles in by_kind.items() if titles]
    if resources := _resources(net, baseline):
        phrases.append(resources)
    beside = ""
    if phrases:
        beside = f"What {net.name} gains and costs beside {baseline.name}: {'; '.join(phrases)}."
    return (beside + _new_users(net, baseline)).strip()


def _resources(net: Row, baseline: Row) -> str:
    parts = []
    if not isnan(net.seconds + baseline.seconds):
        ratio = f", {_ratio(net.seconds / baseline.seconds)}" if baseline.seconds > 0 else ""
        parts.append(
            f"it trains for {_seconds(net.seconds)} against {_seconds(baseline.seconds)}{ratio}"
        )
    if not isnan(net.num_parameters + baseline.num_parameters):
        parts.append(
            f"keeps {net.num_parameters:,.0f} learnt numbers against {baseline.num_parameters:,.0f}"
        )
    return ", and ".join(parts)


def _new_users(net: Row, baseline: Row) -> str:
    if None in (net.takes_new_users, baseline.takes_new_users):
        return ""
    if net.takes_new_users and baseline.takes_new_users:
        return " Both answer for new users without being trained again."
    if not net.takes_new_users and not baseline.takes_new_users:
        return " Neither answers for new users before it is trained again."
    able, unable = (net, baseline) if net.takes_new_users else (baseline, net)
    return (
        f" {able.name} answers for new users as it is, {unable.name} only after it is trained "
        "again with them."
    )


def collapse(contrast: Contrast) -> str:
    """The loss, if any, that ends in a net that predicts no cell positive at 0.5; or the net, where
    none is chosen."""
    nets = [row for row in contrast.rows if not (row.is_baseline or isnan(row.share_predicted))]
    if not nets or contrast.prevalence is None:
        return ""
    sentences = []
    groups: dict[str, list[Row]] = {}
    for row in nets:
        groups.setdefault(f"with {row.loss}" if row.loss else f"of {row.name}", []).append(row)
    for which, rows in sorted(groups.items()):
        runs, collapsed = sum(len(row.runs) for row in rows), sum(row.num_collapsed for row in rows)
        shares = [row.share_predicted for row in rows]
        if collapsed:
            sentences.append(
                f"{collapsed} of the {runs} runs {which} predict no cell positive at 0.5: they "
                "have collapsed to zeros at that threshold, and no metric at 0.5 tells them apart"
            )
        else:
            low, high = f"{100 * min(shares):.2g}", f"{100 * max(shares):.2g}"
            span = f"{low} %" if low == high else f"{low} to {high} %"
            sentences.append(
                f"no run {which} collapses: {span} of the cells are predicted positive at 0.5"
            )
    joined = "; ".join(sentences)
    share = f"{100 * contrast.prevalence:.1f} % of the cells are positive"
    return f"{joined[0].upper()}{joined[1:]} ({share})."


def limits(contrast: Contrast) -> str:
    """Sentences on what the intervals do not cover here."""
    sentences = []
    single = [row.name for row in contrast.rows if not row.is_baseline and row.num_seeds == 1]
    if single:
        named = single[0] if len(single) == 1 else f"{len(single)} nets"
        sentences.append(
            f"There is no verdict on {named} with "
            f"{ONE_SEED}{'' if len(single) == 1 else ' of each'}."
        )
    sentences += _limits_of_splits(contrast)
    if contrast.part == "validation":
        sentences.append(
            "Epochs, thresholds and settings were chosen on this same part, which favours what was "
            "chosen among more: only the test part decides."
        )
    return " ".join(sentences)


def _limits_of_splits(contrast: Contrast) -> list[str]:
    if contrast.split_is_random is False:
        return ["The split has no seed: it counts once, and there is no other one to be covered."]
    if len(contrast.splits) == 1:
        return ["One split: another split is not covered."] if contrast.split_is_random else []
    if contrast.part == "validation":
        return []
    return [
        "Settings were chosen on one split: the test parts of the others share cells with the part "
        "that they were chosen on, which favours what was chosen among more."
    ]


def _distinct_values(first: Row, second: Row, measure: str) -> tuple[str, str]:
    """The two values with four decimals, with up to six where these are the same."""
    ours, theirs = first.values[measure], second.values[measure]
    decimals = next(
        (number for number in (4, 5, 6) if f"{ours:.{number}f}" != f"{theirs:.{number}f}"), 4
    )
    return f"{ours:.{decimals}f}", f"{theirs:.{decimals}f}"


def _interval(difference: Difference) -> str:
    return f"{difference.low:+.4f} to {difference.high:+.4f}"


def _p(value: float) -> str:
    return (
        "< .0001" if value < 1e-4 else f"= {value:.4f}".replace("0.", ".") if value < 1 else "= 1"
    )


def _seconds(value: float) -> str:
    return f"{value:.3f} s" if value < 0.1 else f"{value:.1f} s"


def _ratio(value: float) -> str:
    return f"{value:,.0f} times as long" if value >= 10 else f"{value:.1f} times as long"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
