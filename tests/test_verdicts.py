"""The words of a comparison, from made-up numbers for each case."""

from dataclasses import replace

import pytest

from recsweep.comparison import words as verdicts
from recsweep.comparison.contrasts import Contrast, Row, Versus
from recsweep.comparison.resampling import Difference, Influence

F1, HALF = "f1_at_threshold", "f1_at_half"


def _row(
    name: str, loss: str | None = None, *, f1: float = 0.2, half: float = 0.1, **more: object
) -> Row:
    more = {
        "measured_on": (("s", 0), ("s", 1)),
        "runs": ("a", "b"),
        "values": {F1: f1, HALF: half},
        "intervals": {},
    } | more
    return Row(name=name, role="net" if loss else "baseline", loss=loss, **more)


def _difference(value: float, margin: float = 0.01, p: float | None = None) -> Difference:
    p = (0.001 if abs(value) > margin else 0.4) if p is None else p
    return Difference(value, value - margin, value + margin, p)


def _versus(reference: str, **differences: Difference) -> Versus:
    return Versus(
        reference,
        "validation",
        differences,
        {name: each.p_value for name, each in differences.items()},
    )


def _contrast(rows: list[Row], versus: dict[str, Versus] | None = None, **more: object) -> Contrast:
    """By F1 at the chosen threshold, on test."""
    nets = [row.name for row in rows if not row.is_baseline]
    more = {"best_net": nets[0] if nets else None, "prevalence": 0.05} | more
    return Contrast(
        data="toy",
        data_digest="d",
        splits=["s"],
        part="test",
        measure=F1,
        rows=rows,
        versus=versus or {},
        **more,
    )


def _pair(f1: Difference, half: Difference, corrected: float | None = None) -> Contrast:
    """A net against a baseline, with these leads; another baseline makes it a family of two.

    Args:
        corrected: The net's p by F1 at the chosen threshold; None leaves it as it is.
    """
    rows = [
        _row("net", "mse", f1=0.3 + f1.value, half=0.1 + half.value),
        _row("knn", f1=0.3, half=0.1),
        _row("popularity", f1=0.1, half=0.0),
    ]
    versus = {
        measure: _versus("knn", net=each, popularity=_difference(-0.2))
        for measure, each in ((F1, f1), (HALF, half))
    }
    if corrected is not None:
        versus[F1] = replace(versus[F1], corrected={**versus[F1].corrected, "net": corrected})
    return _contrast(rows, versus)


class TestMainVerdict:
    def test_a_lead_beyond_chance(self):
        assert verdicts.main_verdict(_pair(_difference(0.05), _difference(0.1))) == (
            "By F1 at the chosen threshold, net has 0.3500 and the best baseline by validation, "
            "knn, 0.3000: ahead by 0.0500 (95 % interval of the difference +0.0400 to +0.0600), "
            "more than chance explains, also after Holm's correction for 2 models (p = .0010)."
        )

    def test_a_lead_that_the_interval_does_not_tell_from_none(self):
        said = verdicts.main_verdict(_pair(_difference(0.005), _difference(0.1)))
        assert said.endswith(
            "ahead by 0.0050 (95 % interval of the difference -0.0050 to +0.0150), which can't be "
            "told from no difference."
        )

    def test_a_lead_that_the_correction_takes_away(self):
        said = verdicts.main_verdict(
            _pair(_difference(0.011, p=0.03), _difference(0.1), corrected=0.06)
        )
        assert said.endswith(
            "the interval excludes zero, but after Holm's correction for the 2 models compared the "
            "difference can't be told from chance (p = .0600)."
        )
        assert "significant" not in said

    def test_a_net_that_is_behind(self):
        said = verdicts.main_verdict(_pair(_difference(-0.05), _difference(0.1)))
        assert (
            "net has 0.2500 and the best baseline by validation, knn, 0.3000: behind by 0.0500"
            in said
        )

    def test_of_a_loss_less_is_better(self):
        rows = [_row("net", "mse", values={"mse": 0.04}), _row("knn", values={"mse": 0.05})]
        found = replace(
            _contrast(rows, {"mse": _versus("knn", net=_difference(-0.01, 0.001))}), measure="mse"
        )
        assert "knn, 0.0500: ahead by 0.0100" in verdicts.main_verdict(found)

    def test_level(self):
        assert verdicts.main_verdict(_pair(_difference(0.0), _difference(0.1))).endswith(
            "0.3000: the two are level."
        )

    def test_a_model_alone(self):
        assert verdicts.main_verdict(_contrast([_row("knn")])).startswith("knn stands alone")

    def test_baselines_alone(self):
        rows = [_row("knn", f1=0.3), _row("popularity", f1=0.1)]
        behind = replace(_difference(-0.2), levels="120 users, 1 split")
        found = _contrast(rows, {F1: _versus("knn", popularity=behind)})
        assert verdicts.main_verdict(found) == (
            "By F1 at the chosen threshold, knn, the best baseline by validation, leads: none of "
            "the other models is ahead of it (over 120 users, 1 split)."
        )
        assert verdicts.threshold(found) == verdicts.cost(found) == verdicts.collapse(found) == ""
        assert verdicts.words(found)

    def test_nets_alone(self):
        rows = [_row("net b", "bce", f1=0.31), _row("net a", "mse", f1=0.3)]
        found = _contrast(
            rows, {F1: _versus("net a", **{"net b": _difference(0.01, 0.02)})}, best_net="net a"
        )
        said = verdicts.main_verdict(found)
        assert "net b has 0.3100 and the best of these models by validation, net a, 0.3000" in said
        assert "can't be told from no difference" in said
        assert "baseline" not in " ".join(verdicts.words(found))

    def test_nothing_can_be_resampled(self):
        said = verdicts.main_verdict(_contrast([_row("knn", f1=0.3), _row("popularity")]))
        assert said == "knn leads by F1 at the chosen threshold; no interval can be given for it."

    def test_levels_stand_beside_the_interval(self):
        said = verdicts.main_verdict(
            _pair(
                replace(_difference(0.05), levels="120 users, 3 seeds, 1 split"), _difference(0.1)
            )
        )
        assert (
            "(95 % interval of the difference +0.0400 to +0.0600 over 120 users, 3 seeds, 1 split)"
            in said
        )

    def test_no_verdict(self):
        open_one = replace(
            _difference(0.05), no_verdict="one seed: run two more", p_value=float("nan")
        )
        found = _pair(open_one, open_one)
        assert verdicts.main_verdict(found).endswith(
            "ahead by 0.0500 (95 % interval of the difference +0.0400 to +0.0600), of which there "
            "is no verdict (one seed: run two more)."
        )
        assert verdicts.threshold(found).endswith("it has no sure lead at either.")
        assert "chance explains" not in " ".join(verdicts.words(found))

    def test_holm_counts_what_has_a_verdict(self):
        found = _pair(_difference(0.05), _difference(0.1))
        versus = found.versus[F1]
        rest = replace(
            versus.differences["popularity"],
            no_verdict="one seed: run two more",
            p_value=float("nan"),
        )
        found = replace(
            found,
            versus={F1: replace(versus, differences={**versus.differences, "popularity": rest})},
        )
        assert verdicts.main_verdict(found).endswith("more than chance explains (p = .0010).")

    @pytest.mark.parametrize(
        ("value", "turned"), [(-0.02, "sign"), (0.04, None), (0.005, "verdict")]
    )
    def test_a_lead_that_hangs_on_one_user(self, value, turned):
        lead = replace(_difference(0.05), influence=Influence(375, value - 0.05, 0.93))
        found = _pair(lead, _difference(0.1))
        own = _versus("knn", net=_difference(0.002))
        versus = {
            F1: replace(found.versus[F1], without={"net": _difference(value)}),
            f"{F1}_per_user": own,
        }
        said = verdicts.main_verdict(replace(found, versus=versus))
        assert said.endswith(
            "; not covered: it hangs on one user (index 375, 93 % of the jackknife variance), "
            f"without whom the difference is {value:+.4f} ({value - 0.01:+.4f} to "
            f"{value + 0.01:+.4f}){f' and the {turned} turns' if turned else ''}; F1 at the chosen "
            "threshold per user: +0.0020 (-0.0080 to +0.0120)."
        )


class TestLeaders:
    def test_each_measure_has_its_own(self):
        rows = [
            _row("net", "mse", values={F1: 0.3, "mse": 0.05, "log_loss": 0.2}),
            _row("knn", values={F1: 0.2, "mse": 0.04, "log_loss": 0.1}),
        ]
        assert verdicts.leaders(_contrast(rows)) == (
            "The best values: net by F1 at the chosen threshold; knn by MSE and log loss."
        )

    def test_one_of_all(self):
        rows = [_row("net", "mse", f1=0.3, half=0.2), _row("knn")]
        assert verdicts.leaders(_contrast(rows)) == (
            "net has the best value of every measure: F1 at the chosen threshold and F1 at 0.5."
        )


class TestThreshold:
    """Of the best net and the best baselines there are: at 0.5, and with chosen thresholds."""

    @pytest.mark.parametrize(
        ("half", "tuned", "corrected", "said"),
        [
            (_difference(0.1), _difference(0.05), None, "The lead survives tuning the threshold."),
            (
                _difference(0.1),
                _difference(0.005),
                None,
                "Once the threshold is tuned, the lead can't be told from chance.",
            ),
            (
                _difference(0.1),
                _difference(0.011, p=0.03),
                0.06,
                "the lead can't be told from chance.",
            ),
            (
                _difference(0.1),
                _difference(-0.05),
                None,
                "does not survive tuning the threshold: it was one of the threshold.",
            ),
            (_difference(-0.1), _difference(0.05), None, "it is better than 0.5 lets it look."),
            (_difference(-0.1), _difference(-0.05), None, "it leads at neither."),
            (_difference(0.005), _difference(-0.05), None, "it has no sure lead at either."),
            (_difference(-0.1), _difference(0.005), None, "it has no sure lead at either."),
        ],
        ids=[
            "survives",
            "shrinks",
            "not after Holm",
            "turns",
            "the other way",
            "neither",
            "none to begin with",
            "none in the end",
        ],
    )
    def test_case(self, half, tuned, corrected, said):
        assert verdicts.threshold(_pair(tuned, half, corrected)).endswith(said)

    def test_the_best_baseline_at_each_is_named(self):
        rows = [
            _row("net", "mse", f1=0.3, half=0.2),
            _row("knn", f1=0.25),
            _row("logistic", half=0.15),
        ]
        found = _contrast(
            rows,
            {
                F1: _versus("knn", net=_difference(0.05)),
                HALF: _versus("logistic", net=_difference(0.05)),
            },
        )
        said = verdicts.threshold(found)
        assert (
            "net has F1 0.2000 against 0.1500 of the best baseline there by validation, logistic"
            in said
        )
        assert (
            "it has F1 0.3000 against 0.2500 of the best baseline there by validation, knn" in said
        )

    def test_it_is_of_the_net_that_validation_finds_best_at_half(self):
        nets = [
            _row("bold", "mse", half=0.2, on_validation={HALF: 0.3}),
            _row("timid", "bce", f1=0.4, half=0.25, on_validation={HALF: 0.1}),
        ]
        leads = {"bold": _difference(0.1), "timid": _difference(0.15)}
        found = _contrast(
            [*nets, _row("knn")],
            {F1: _versus("knn", **leads), HALF: _versus("knn", **leads)},
            best_net="timid",
        )
        assert verdicts.threshold(found).startswith(
            "At the fixed threshold of 0.5, bold has F1 0.2000 against 0.1000"
        )


class TestCost:
    def _found(self, new_users: tuple[bool | None, bool | None] = (None, None)) -> Contrast:
        values = {F1: 0.3, "mse": 0.05, "accuracy_at_half": 0.9, "average_precision": 0.2}
        rows = [
            _row(
                "net",
                "mse",
                values=values,
                seconds=33.0,
                num_parameters=40_000,
                takes_new_users=new_users[0],
            ),
            _row(
                "knn",
                values=values | {"mse": 0.04, "average_precision": 0.1},
                seconds=0.1,
                num_parameters=2_000,
                takes_new_users=new_users[1],
            ),
        ]
        paid = {
            "mse": _difference(0.01, 0.001),
            "average_precision": _difference(0.1),
            "accuracy_at_half": _difference(0.0001),
            F1: _difference(0.1),
        }
        return _contrast(rows, {F1: _versus("knn", net=_difference(0.1))}, paid=paid)

    def test_values_that_differ_late_are_shown_with_more_decimals(self):
        found = self._found()
        rows = [
            replace(row, values=row.values | {"mse": value})
            for row, value in zip(found.rows, (0.04434, 0.04430), strict=True)
        ]
        assert "MSE (0.04434 against 0.04430)" in verdicts.cost(replace(found, rows=rows))

    def test_what_is_gained_and_what_is_paid(self):
        assert verdicts.cost(self._found()) == (
            "What net gains and costs beside knn: it is worse by MSE (0.0500 against 0.0400); it "
            "is better by average precision (0.2000 against 0.1000); no difference can be told by "
            "accuracy at 0.5 (0.9000 against 0.9000); it trains for 33.0 s against 0.1 s, 330 "
            "times as long, and keeps 40,000 learnt numbers against 2,000."
        )

    @pytest.mark.parametrize(
        ("able", "said"),
        [
            ((True, True), "Both answer for new users without being trained again."),
            ((False, False), "Neither answers for new users before it is trained again."),
            (
                (False, True),
                "knn answers for new users as it is, net only after it is trained again with them.",
            ),
        ],
    )
    def test_new_users(self, able, said):
        assert verdicts.cost(self._found(able)).endswith(said)


class TestCollapse:
    def test_is_said_of_its_loss(self):
        rows = [
            _row("a", "bce", num_collapsed=2, share_predicted=0.0),
            _row("b", "mse", share_predicted=0.004),
            _row("c", "mse", share_predicted=0.009),
            _row("knn", share_predicted=0.0),
        ]
        assert verdicts.collapse(_contrast(rows)) == (
            "2 of the 2 runs with bce predict no cell positive at 0.5: they have collapsed to "
            "zeros at that threshold, and no metric at 0.5 tells them apart; no run with mse "
            "collapses: 0.4 to 0.9 % of the cells are predicted positive at 0.5 (5.0 % of the "
            "cells are positive)."
        )

    def test_likes_alone_have_no_cells_to_collapse_on(self):
        assert verdicts.collapse(_contrast([_row("a", "bce")], prevalence=None)) == ""


class TestLimits:
    def test_one_seed_means_users_only(self):
        found = _contrast(
            [
                _row(*named, measured_on=[("s", 0)], runs=("a",))
                for named in (("net", "mse"), ("knn",))
            ]
        )
        assert verdicts.limits(found) == "There is no verdict on net with one seed: run two more."

    def test_one_seed_of_several_nets(self):
        nets = [_row(name, "mse", measured_on=[("s", 0), ("t", 1)]) for name in "ab"]
        assert (
            verdicts.limits(_contrast(nets))
            == "There is no verdict on 2 nets with one seed: run two more of each."
        )

    @pytest.mark.parametrize(
        ("splits", "is_random", "said"),
        [
            (["s"], True, "One split: another split is not covered."),
            (
                ["s"],
                False,
                "The split has no seed: it counts once, and there is no other one to be covered.",
            ),
            (
                ["s", "t"],
                True,
                "Settings were chosen on one split: the test parts of the others share cells with "
                "the part that they were chosen on, which favours what was chosen among more.",
            ),
            (["s"], None, ""),
        ],
        ids=["one", "without a seed", "several", "not told"],
    )
    def test_what_is_said_of_splits(self, splits, is_random, said):
        found = replace(
            _contrast([_row("net", "mse"), _row("knn")]), splits=splits, split_is_random=is_random
        )
        assert verdicts.limits(found) == said

    def test_several_seeds_on_test_have_none(self):
        assert verdicts.limits(_contrast([_row("net", "mse"), _row("knn")])) == ""

    def test_validation_favours_what_was_chosen_on_it(self):
        found = replace(_contrast([_row("net", "mse"), _row("knn")]), part="validation")
        assert "only the test part decides" in verdicts.limits(found)
