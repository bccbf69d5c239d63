"""Whole studies: the planned trials and no others, whatever happens on the way."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.tuning.conftest import TINY, runs

from recsweep.config import SAME, composed, conf_dir
from recsweep.errors import DataError
from recsweep.models.popularity import Popularity
from recsweep.processes import Worker
from recsweep.tuning import definition
from recsweep.tuning import sweep as sweep_module
from recsweep.tuning.refit import RefitOptions, refit
from recsweep.tuning.storage import open_storage, storage_url
from recsweep.tuning.study import Study

REPOSITORY = Path(__file__).parents[2]


def _study(name: str) -> Study:
    return Study(open_storage(storage_url(None)), name)


def _points(record) -> list[dict]:
    return [dict(trial.params) for trial in record.of_state("complete")]


class TestGrid:
    def test_each_combination_once(self, sweep, store):
        record = sweep("model=popularity", "model.scale_by_activity=true,false", "seed=range(0,2)")
        assert _points(record) == [
            {"model.scale_by_activity": active, "seed": seed}
            for active in (True, False)
            for seed in (0, 1, 2)
        ]
        assert record.planned == 6
        assert record.sampler == "grid"

    def test_what_means_nothing_to_a_model_makes_no_trial(self, sweep, store):
        record = sweep("model=recipe_net,knn,logistic", "loss=mse,bce")
        assert _points(record) == [
            {"model": "recipe_net", "loss": "mse"},
            {"model": "recipe_net", "loss": "bce"},
            {"model": "knn"},
            {"model": "logistic"},
        ]
        assert {trial.name for trial in record.trials} >= {"knn user 50", "logistic C=1"}

    def test_a_setting_of_one_model_is_varied_for_that_one_alone(self, sweep, store):
        record = sweep("model=popularity,knn", "model.num_neighbors=5,10")
        assert _points(record) == [
            {"model": "popularity"},
            {"model": "knn", "model.num_neighbors": 5},
            {"model": "knn", "model.num_neighbors": 10},
        ]

    def test_one_value_for_those_that_have_the_setting(self, sweep, store):
        record = sweep("model=popularity,knn,item_knn", "model.num_neighbors=20")
        assert [trial.name for trial in record.trials] == [
            "popularity",
            "knn user 20",
            "knn item 20",
        ]
        assert _points(record) == [{"model": name} for name in ("popularity", "knn", "item_knn")]
        outcomes = refit(RefitOptions(study=record.name, best_of="model"), conf_dir())
        assert sorted(outcome.name for outcome in outcomes) == [
            "knn item 20",
            "knn user 20",
            "popularity",
        ]

    def test_one_value_for_one_of_the_optimizers(self, sweep, store):
        record = sweep("optimizer=sgd,adam", "optimizer.momentum=0.9")
        assert len(record.of_state("complete")) == 2

    def test_a_setting_of_no_model_is_a_mistake(self, refused):
        for value in ("1,2", "1"):
            assert "model.neighbours is a setting of none of model=popularity,knn" in refused(
                "model=popularity,knn", f"model.neighbours={value}"
            )

    def test_an_impossible_point_ends_before_any_is_trained(self, refused, store):
        assert "model.num_neighbors must be a whole number of at least 1, not 0." in refused(
            "model=knn", "model.num_neighbors=5,0"
        )
        assert runs(store) == {}

    def test_without_anything_varied_it_is_one_trial(self, sweep, store):
        assert len(sweep("model=popularity").trials) == 1


class TestSearch:
    def test_as_many_trials_as_planned(self, sweep, store):
        record = sweep(
            "model=knn", "model.num_neighbors=interval(5,40)", "hydra.sweeper.n_trials=4"
        )
        assert [trial.state for trial in record.trials] == ["complete"] * 4
        assert all(type(trial.params["model.num_neighbors"]) is int for trial in record.trials)
        assert record.sampler == "tpe"

    def test_whole_numbers_are_drawn_for_every_option_of_a_varied_group(self, sweep, store):
        record = sweep(
            "model=knn,item_knn", "model.num_neighbors=interval(5,50)", "hydra.sweeper.n_trials=3"
        )
        assert [trial.state for trial in record.trials] == ["complete"] * 3
        assert record.space["model.num_neighbors"] == "int(interval(5, 50))"

    def test_fractions_for_whole_numbers_are_refused(self, refused, store):
        assert "Take model.num_neighbors='int(interval(6,50))'." in refused(
            "model=knn", "model.num_neighbors=interval(5.5,50)"
        )
        assert runs(store) == {}

    def test_a_raised_budget_goes_on(self, sweep, store):
        space = ("model=knn", "model.num_neighbors=interval(5,40)")
        assert len(sweep(*space, "hydra.sweeper.n_trials=2").trials) == 2
        assert len(sweep(*space, "hydra.sweeper.n_trials=3").trials) == 3
        assert len(sweep(*space, "hydra.sweeper.n_trials=2").trials) == 3

    def test_lists_with_a_number_of_trials_are_searched(self, sweep, store):
        record = sweep("model=knn,logistic", "model.C=0.1,1,10,100", "hydra.sweeper.n_trials=5")
        assert len(record.of_state("complete")) == 5
        for trial in record.trials:
            assert ("model.C" in trial.params) == (trial.params["model"] == "logistic")

    @pytest.mark.parametrize(
        "sampler",
        [
            "tpe",
            *(
                pytest.param(name, marks=pytest.mark.slow)
                for name in ("random", "nsga2", "qmc", "gp")
            ),
        ],
    )
    def test_every_sampler_draws_and_repeats_itself(self, sampler, sweep, store):
        chosen = [
            f"hydra/sweeper/sampler={sampler}",
            "hydra.sweeper.n_trials=3",
            "model=logistic",
            "model.C=tag(log,interval(0.01,1))",
            "model.max_iter=interval(100,200)",
        ]
        first = sweep(*chosen, "hydra.sweeper.study_name=first")
        second = sweep(*chosen, "hydra.sweeper.study_name=second")
        assert _points(first) == _points(second)
        assert [trial.values for trial in first.trials] == [trial.values for trial in second.trials]
        assert len({trial.params["model.C"] for trial in first.trials}) == 3
        other = sweep(*chosen, "hydra.sweeper.study_name=other", "seed=1")
        if sampler != "qmc":  # its first point is the same
            assert _points(other)[0] != _points(first)[0]


class TestResume:
    OVERRIDES = ("model=popularity,knn",)

    def test_the_same_command_adds_nothing(self, sweep, store, capsys):
        first = sweep(*self.OVERRIDES)
        before = runs(store)
        printed = capsys.readouterr().out
        again = sweep(*self.OVERRIDES)
        assert again == first
        assert runs(store) == before
        assert capsys.readouterr().out.strip() in printed

    def test_and_imports_nothing_heavy(self, sweep, store, tmp_path):
        sweep(*self.OVERRIDES)
        probe = (
            "import sys, runpy; sys.argv = sys.argv[1:]\n"
            "runpy.run_path(sys.argv[0], run_name='__main__')\n"
            f"print([name for name in {['torch', 'mlflow', 'scipy', 'pandas']} if name in "
            "sys.modules])"
        )
        command = [
            sys.executable,
            "-c",
            probe,
            REPOSITORY / "train.py",
            "-m",
            *TINY,
            *self.OVERRIDES,
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "best: trial" in done.stdout
        assert done.stdout.splitlines()[-1] == "[]"

    def test_another_file_is_another_study(self, sweep, store, tmp_path):
        names = []
        for folder, rating in (("a", 4), ("b", 4), ("c", 5)):
            path = tmp_path / folder / "likes.csv"
            path.parent.mkdir()
            rows = [
                f"{user},{item},{rating if user * item % 3 else 1}"
                for user in range(20)
                for item in range(15)
            ]
            path.write_text("user_id,item_id,rating\n" + "\n".join(rows) + "\n")
            names.append(sweep("data=csv", f"data.path={path}", "model=popularity,knn").name)
        assert names[0] == names[1] != names[2]

    def test_the_files_of_a_folder_of_parts_and_of_a_glob_count(self, tmp_path):
        def digest(*paths) -> str:
            return definition._files_digest("data.path", [str(path) for path in paths])

        for place, name in enumerate(("a/x", "a/y", "h/year=1/x", "h/year=2/y", "f/z/x", "f/z/y")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("xy"[place % 2])
        both = digest(tmp_path / "a" / "x", tmp_path / "a" / "y")
        for place in ("a", "h", "f", "a/*", "h/*", "h/**/*", "?/z"):
            assert digest(tmp_path / place) == both, place
        with pytest.raises(DataError, match=r"missing can't be read: .* Set data.path to your"):
            digest(tmp_path / "missing")

    def test_features_count_by_what_is_in_them_and_titles_not_at_all(self, tmp_path):
        names = []
        for folder, age in (("a", 4), ("b", 4), ("c", 5)):
            path = tmp_path / folder / "users.csv"
            path.parent.mkdir()
            path.write_text(f"id,age\n1,{age}\n")
            added = (f"+data.user_features={path}", f"+data.item_titles={path}")
            settings = definition._fixed_settings(composed(added), [], [])
            assert "data.item_titles" not in settings
            names.append(settings["data.user_features"])
        assert names[0] == names[1] != names[2]
        assert names[0].startswith("sha256 ")
        assert not SAME["data"].counts("data.item_titles")
        assert not SAME["data"].counts("data.memory_gb")

    def test_a_file_below_the_home_of_the_user(self, sweep, store, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        rows = [f"{user},{item},{user * item % 3}" for user in range(20) for item in range(15)]
        (tmp_path / "likes.csv").write_text("user_id,item_id,rating\n" + "\n".join(rows) + "\n")
        place = ("data=csv", "data.positive_rating=1", "model=popularity")
        short = sweep(*place, "data.path='~/likes.csv'")
        assert short.name == sweep(*place, f"data.path={tmp_path}/likes.csv").name
        assert len(short.of_state("complete")) == 1

    def test_other_settings_are_refused_with_the_difference(self, sweep, refused, store):
        named = "hydra.sweeper.study_name=named"
        sweep(*self.OVERRIDES, named)
        assert "seed: 0 -> 1" in refused(*self.OVERRIDES, named, "seed=1")
        assert "space model: popularity, knn -> popularity, logistic" in refused(
            "model=popularity,logistic", named
        )
        assert "pruner kind: none -> median" in refused(
            *self.OVERRIDES, named, "hydra/sweeper/pruner=median"
        )
        record = sweep(*self.OVERRIDES, named, "seed=1", "hydra.sweeper.allow_changes=true")
        assert record.fixed["seed"] == 1
        assert len(record.trials) == 4

    def test_a_longer_list_of_numbers_keeps_what_is_done(self, sweep, store):
        named = ("model=knn", "hydra.sweeper.study_name=grows")
        sweep(*named, "model.num_neighbors=5,10")
        record = sweep(*named, "model.num_neighbors=5,10,20", "hydra.sweeper.allow_changes=true")
        assert [trial.params["model.num_neighbors"] for trial in record.trials] == [5, 10, 20]

    @pytest.mark.parametrize(
        ("first", "then", "points"),
        [
            pytest.param(
                ("model=popularity,knn",),
                ("model=popularity,knn,logistic",),
                [{"model": "popularity"}, {"model": "knn"}, {"model": "logistic"}],
                id="a longer list of models",
            ),
            pytest.param(
                ("model=knn", "model.shrink=1,2"),
                ("model=knn", "model.shrink=1,2,2.5"),
                [{"model.shrink": 1}, {"model.shrink": 2}, {"model.shrink": 2.5}],
                id="a fraction among whole numbers",
            ),
            pytest.param(
                ("trainer.patience=1,2",),
                ("trainer.patience=1,2,null",),
                [{"trainer.patience": 1}, {"trainer.patience": 2}, {"trainer.patience": None}],
                id="null among numbers",
            ),
        ],
    )
    def test_a_grid_grows(self, first, then, points, sweep, store):
        named = "hydra.sweeper.study_name=grows"
        before = sweep(*first, named)
        record = sweep(*then, named, "hydra.sweeper.allow_changes=true")
        assert _points(record) == points
        assert [type(value) for point in _points(record) for value in point.values()] == [
            type(value) for point in points for value in point.values()
        ]
        assert record.trials[: len(before.trials)] == before.trials
        assert sweep(*then, named) == record

    def test_a_grid_of_other_models_keeps_what_is_done(self, sweep, store):
        named = "hydra.sweeper.study_name=others"
        sweep("model=popularity,knn", named)
        record = sweep("model=popularity,item_knn", named, "hydra.sweeper.allow_changes=true")
        assert _points(record) == [{"model": "popularity"}, {"model": "knn"}, {"model": "item_knn"}]

    @pytest.mark.parametrize(
        ("then", "said"),
        [
            (
                "model.C=tag(log,interval(0.1,1))",
                "draw model.C from the same scale, log or linear.",
            ),
            ("model.C=0.1,0.5", "draw model.C from the same kind of values"),
            ("evaluation.objective=mse", "The directions of a study can't change"),
            ("evaluation.objective=ndcg_at_10", "With another evaluation.objective its trials"),
            ("data.density=0.2", "With another data.density its trials could not be compared."),
        ],
    )
    @pytest.mark.parametrize("allow", ["true", "false"])
    def test_what_can_not_change_is_refused_before_anything_is(
        self, allow, then, said, sweep, refused, store
    ):
        named = ("model=logistic", "hydra.sweeper.n_trials=1", "hydra.sweeper.study_name=search")
        record = sweep(*named, "model.C=interval(0.1,1)")
        notes = _study("search").notes()
        space = () if then.startswith("model.C") else ("model.C=interval(0.1,1)",)
        error = refused(*named, *space, then, f"hydra.sweeper.allow_changes={allow}")
        assert said in error
        assert error.endswith("Give it another hydra.sweeper.study_name.")
        assert _study("search").notes() == notes
        assert _study("search").record() == record

    def test_a_dead_process_leaves_its_trial_to_be_tried_again(self, sweep, store, monkeypatch):
        name = ("hydra.sweeper.study_name=death", "model=popularity,knn")
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        here = Worker.here()
        with monkeypatch.context() as patch:
            patch.setattr(Worker, "here", lambda: Worker(here.host, here.space, ended.pid, "1"))
            patch.setattr("recsweep.tuning.sweep.run_trial", _die)
            patch.setattr("recsweep.tuning.trial.TrialHandle.ended", lambda self, ending: None)
            with pytest.raises(_KilledError):
                sweep(*name)
        record = sweep(*name)
        assert [(trial.state, trial.attempt) for trial in record.trials] == [
            ("died", 0),
            ("complete", 1),
            ("complete", 0),
        ]
        assert f"its process {ended.pid} on" in record.trials[0].reason

    def test_retries_come_to_an_end(self, sweep, store, monkeypatch):
        sweep("model=popularity", "hydra.sweeper.study_name=ends")
        study = _study("ends")
        study.retries = 1
        claims = []
        here = Worker.here()
        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr(Worker, "here", lambda: Worker(here.host, here.space, here.pid, "0"))
                claims.append(study.claim(["other"]))
            study.settle()
        assert [claim.attempt for claim in claims] == [0, 1]
        assert study.claim(["other"]) is None


class TestGaps:
    """Points whose processes were killed more often than they may."""

    GRID = (
        "model=popularity,knn,item_knn",
        "hydra.sweeper.retries=0",
        "hydra.sweeper.study_name=gaps",
    )

    @pytest.fixture
    def killing(self, monkeypatch):
        """killing(models): within it, the processes that train these models are killed, others
        are not."""

        @contextmanager
        def killing(*models: str):
            here, train = Worker.here(), sweep_module.run_trial
            dead = Worker(here.host, here.space, here.pid, "0")

            def run_trial(sweep, trial):
                if sweep.overrides(trial.claim)[0].partition("=")[2] not in models:
                    train(sweep, trial)
                    return
                claims, claimed = sweep.study.storage.claims, trial.claim
                worker = json.dumps(dead.stored())
                key, number = sweep.study._key, claimed.number
                claims.take_over(key, number, worker, claimed.trial_id, {})
                sweep.study.settle()

            with monkeypatch.context() as patch:
                patch.setattr(sweep_module, "run_trial", run_trial)
                yield

        return killing

    def test_are_missing_until_the_same_command_fills_them(
        self, sweep, unfinished, killing, store, capsys
    ):
        with killing("knn"):
            record, error = unfinished(*self.GRID)
        assert error == (
            "The study 'gaps' is not finished: 1 of 3 points is missing: model=knn (killed once). "
            "The same command tries it once more."
        )
        status, tags = runs(store)["gaps"]
        assert status == "FAILED"
        assert "model=knn (killed once)" in tags["reason"]
        assert "missing: killed once" in tags["mlflow.note.content"]
        assert tags["trials"] == "2 finished, 1 killed, 1 of 3 missing"
        with killing("knn"):
            record, error = unfinished(*self.GRID)
        assert "model=knn (killed 2 times)" in error
        assert [trial.attempt for trial in record.of_state("died")] == [0, 1]
        record = sweep(*self.GRID)
        assert len(record.of_state("complete")) == 3
        assert record.missing == ()
        status, tags = runs(store)["gaps"]
        assert (status, "reason" in tags) == ("FINISHED", False)
        assert sweep(*self.GRID) == record

    def test_keep_nothing_else_from_being_tried(self, unfinished, killing, store):
        with killing("popularity", "knn"):
            unfinished(*self.GRID)
            record, _ = unfinished(*self.GRID)
        order = [trial.params["model"] for trial in record.trials]
        assert order == ["popularity", "knn", "item_knn", "popularity", "knn"]
        with killing("popularity"):
            record, error = unfinished(*self.GRID, "hydra.sweeper.max_failures=5")
        assert "1 of 3 points is missing: model=popularity (killed 3 times)" in error

    def test_of_a_search(self, sweep, unfinished, killing, store):
        search = ("model=popularity,knn", "hydra.sweeper.n_trials=4", "hydra.sweeper.retries=0")
        with killing("knn"):
            record, error = unfinished(*search)
        gaps = len(record.of_state("died"))
        assert gaps == 1
        assert "1 of 2 trials is missing: model=knn (killed once)" in error, "there are no more"
        assert len(sweep(*search).of_state("complete")) == 2

    def test_stored_by_an_earlier_version_are_found(self, sweep, unfinished, killing, store):
        with killing("knn"):
            unfinished(*self.GRID)
        study = _study("gaps")
        study.note("closed", [3, 3, None, 0])
        study.note("missing", None)
        assert len(sweep(*self.GRID).of_state("complete")) == 3


class _KilledError(BaseException):
    pass


def _die(*_) -> None:
    raise _KilledError


class TestPruning:
    PRUNED = (
        "hydra/sweeper/pruner=median",
        "hydra.sweeper.pruner.n_startup_trials=1",
        "hydra.sweeper.pruner.n_warmup_steps=0",
        "optimizer.lr=0.03,1e-5",
        "trainer.max_epochs=4",
    )

    def test_a_pruned_trial_saves_epochs_and_counts_as_none_of_the_finished(self, sweep, store):
        record = sweep(*self.PRUNED)
        good, bad = record.trials
        assert (good.state, good.epochs, bad.state, bad.epochs) == ("complete", 4, "pruned", 1)
        assert list(good.intermediate) == [1, 2, 3, 4]
        assert list(bad.intermediate) == [1]
        assert bad.values == ()
        assert record.leaderboard == [good] == [record.best]
        status, tags = runs(store)[f"#1 {bad.name}"]
        assert (status, tags["trial_state"]) == ("KILLED", "pruned")
        assert tags["reason"].startswith("pruned after epoch 1 with average_precision")
        assert sweep(*self.PRUNED) == record, "a pruned trial is done"

    def test_several_objectives_make_a_front_and_take_no_pruner(self, sweep, refused, store):
        several = (
            "hydra.sweeper.objectives=[average_precision,model/num_parameters]",
            "model.user_dim=2,8",
        )
        assert "can't be used with 2 objectives" in refused(*several, "hydra/sweeper/pruner=median")
        record = sweep(*several)
        assert record.directions == ("maximize", "minimize")
        assert record.objectives == ("validation/average_precision", "model/num_parameters")
        assert record.front
        small = min(record.trials, key=lambda trial: trial.num_parameters)
        assert small in record.front


class TestFailures:
    BAD = ("optimizer=sgd", "optimizer.lr=1e9,1e8,0.01")

    def test_the_study_goes_on_and_says_what_is_missing(self, unfinished, store):
        record, error = unfinished(*self.BAD)
        assert "2 of 3 points are missing: optimizer.lr=1000000000.0 (failed: FitError:" in error
        assert error.endswith("with hydra.sweeper.retry_failed=true tries them again.")
        assert runs(store)[record.name][0] == "FAILED"
        assert [trial.state for trial in record.trials] == ["failed", "failed", "complete"]
        assert record.trials[0].reason.startswith("FitError: The training loss became")
        status, tags = runs(store)["#0 recipe_net 15/25/128 mse sgd"]
        assert (status, tags["trial_state"]) == ("FAILED", "failed")
        assert unfinished(*self.BAD)[0] == record, "what failed is not tried again"
        again, _ = unfinished(*self.BAD, "hydra.sweeper.retry_failed=true")
        assert [(trial.state, trial.attempt) for trial in again.trials[3:]] == [
            ("failed", 1),
            ("failed", 1),
        ]

    def test_up_to_a_limit(self, refused, store):
        for _ in range(2):
            assert "2 trials failed, as many as hydra.sweeper.max_failures allows" in refused(
                *self.BAD, "hydra.sweeper.max_failures=2"
            )
        assert sorted(name for name in runs(store) if name.startswith("#")) == [
            "#0 recipe_net 15/25/128 mse sgd",
            "#1 recipe_net 15/25/128 mse sgd",
        ]

    def test_a_draw_that_fails_is_an_answer_to_a_search(self, sweep, store):
        record = sweep(*self.BAD, "hydra.sweeper.n_trials=4")
        assert record.of_state("failed")
        assert record.missing == ()
        assert runs(store)[record.name][0] == "FINISHED"

    def test_an_exception_leaves_its_traceback(self, unfinished, store, monkeypatch):
        def fit(self, *_):
            raise MemoryError("no memory")

        monkeypatch.setattr(Popularity, "fit", fit)
        record, _ = unfinished("model=popularity,knn")
        assert [trial.state for trial in record.trials] == ["failed", "complete"]
        _, tags = runs(store)["#0 popularity"]
        assert list(store.rglob(f"{tags['run_id']}/artifacts/traceback.txt"))

    def test_a_study_without_a_result_is_an_error(self, refused, store):
        assert "None of the 1 trials" in refused("optimizer=sgd", "optimizer.lr=1e9")

    def test_an_objective_that_was_never_logged(self, refused, store):
        for setting, words in (
            ("evaluation.objective=recal", ["'recal' was not computed", "mean recall_at_5?"]),
            ("hydra.sweeper.objectives=recal", ["'recal'", "recall_at_5?"]),
            ("hydra.sweeper.objectives=fit/second", ["'fit/second'", "average_precision"]),
        ):
            message = refused("model=popularity,knn", setting)
            assert [word for word in words if word not in message] == []
        assert all(status != "RUNNING" for status, _ in runs(store).values())

    def test_the_test_part_is_refused(self, refused):
        assert "evaluation.test=true can't be part of a study" in refused(
            "model=popularity", "evaluation.test=true"
        )
        assert "evaluation.test=true can't be part of a study" in refused(
            "model=popularity", "evaluation.test=true,false"
        )


class TestBudgets:
    def test_epochs(self, sweep, store, capsys):
        spent = (
            "optimizer.lr=0.01,0.02,0.03",
            "trainer.max_epochs=2",
            "hydra.sweeper.max_epochs=3",
        )
        assert len(sweep(*spent).trials) == 2
        assert "3 epochs is spent, and 1 of 3 were not tried" in capsys.readouterr().out
        assert len(sweep(*spent).trials) == 2
        assert len(sweep(*spent[:2]).trials) == 3

    def test_time(self, sweep, store):
        limited = sweep("model=popularity,knn", "hydra.sweeper.timeout=1e-9")
        assert limited.trials == ()
        assert len(sweep("model=popularity,knn", "hydra.sweeper.timeout=100").trials) == 2

    @pytest.mark.parametrize(
        ("setting", "said"),
        [
            ("n_trials=0", "n_trials must be"),
            ("n_jobs=0", "n_jobs must be"),
            ("timeout=0", "timeout must be"),
            ("retries=-1", "retries must be"),
            ("direction=up", "direction must be maximize or minimize"),
            ("objectives=[mse,mse]", "must be different"),
            ("objectives=test/mse", "must not name a metric of the test"),
            ("direction=[maximize,minimize]", "one direction for each"),
        ],
    )
    def test_impossible_ones(self, setting, said, refused):
        assert said in refused("model=popularity", f"hydra.sweeper.{setting}")


class TestStorage:
    @pytest.mark.parametrize("name", ["2024_11_25", "1e3", "007", "2024"])
    def test_a_name_that_looks_like_a_number(self, name, sweep, store):
        assert sweep("model=popularity", f"hydra.sweeper.study_name={name}").name == name
        (outcome,) = refit(RefitOptions(study=name), conf_dir())
        assert runs(store)[outcome.name][1]["study"] == name

    def test_names_with_quotes_and_spaces(self, sweep, store):
        name = "it's a \"study\" [of] 'mine', {50 %}"
        quoted = "'" + name.replace("'", "\\'") + "'"
        assert sweep("model=popularity,knn", f"hydra.sweeper.study_name={quoted}").name == name
        assert runs(store)[name][0] == "FINISHED"

    def test_garbage(self, refused, store):
        (store / "optuna.db").write_bytes(
            b"no database at all, but long enough to be taken for one" * 30
        )
        assert "file is not a database" in refused("model=popularity")

    def test_locked(self, refused, store, monkeypatch):
        monkeypatch.setattr("recsweep.databases.CONNECT_SECONDS", 0.2)
        monkeypatch.setattr("recsweep.databases.HELD_SECONDS", 0.2)
        other = sqlite3.connect(store / "optuna.db")
        other.execute("create table other (x)")
        other.execute("begin exclusive")
        assert "locked" in refused("model=popularity")
        other.close()

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_read_only(self, sweep, refused, store):
        sweep("model=popularity")
        open_storage.cache_clear()
        (store / "optuna.db").chmod(0o400)
        assert "readonly" in refused("model=popularity")

    def test_a_place_that_does_not_exist(self, refused, store):
        message = refused(
            "model=popularity", "hydra.sweeper.storage=postgresql://me:secret@localhost:1/x"
        )
        assert "secret" not in message
        assert "hydra.sweeper.storage=sqlite" in message


class TestParentRun:
    def test_trials_are_its_children(self, sweep, store):
        record = sweep("model=popularity,knn")
        found = runs(store)
        status, tags = found[record.name]
        assert status == "FINISHED"
        assert tags["run_id"] == record.parent_run
        assert tags["best_trial"] == str(record.best.number)
        assert "| rank | trial |" in tags["mlflow.note.content"]
        for trial in record.trials:
            status, tags = found[f"#{trial.number} {trial.name}"]
            assert status == "FINISHED"
            assert tags["mlflow.parentRunId"] == record.parent_run
            assert (tags["trial_number"], tags["trial_state"], tags["study"]) == (
                str(trial.number),
                "complete",
                record.name,
            )
            assert tags["run_id"] == trial.run_id

    def test_artifacts(self, sweep, store):
        record = sweep("model=popularity,knn")
        folder = next(store.rglob(f"{record.parent_run}/artifacts"))
        lines = (folder / "leaderboard.csv").read_text().splitlines()
        assert lines[0].startswith("rank,trial,run_id,model,model,validation/average_precision")
        assert len(lines) == 3
        assert "best: trial" in (folder / "summary.md").read_text()

    def test_a_line_a_trial(self, sweep, store, capsys):
        sweep("model=popularity,knn")
        lines = [line for line in capsys.readouterr().out.splitlines() if re.match(r"#\d", line)]
        assert len(lines) == 2
        assert re.match(
            r"#0 popularity  model=popularity  average_precision 0\.\d+  .* s  "
            r"best .* \(#0\)  1 of 2, .* left",
            lines[0],
        )

    def test_a_record_goes_into_json(self, sweep, store):
        record = sweep("model=popularity,knn")
        assert json.dumps([dict(trial.params) for trial in record.trials])


class TestAStudyOfAnEarlierVersion:
    """It knew neither what lists are chosen from nor the settings of neighbours but their
    number."""

    SPACE = ("model=item_knn", "model.num_neighbors=interval(5,40)")

    @pytest.fixture
    def earlier(self, sweep, monkeypatch):
        """earlier(*overrides): runs a study whose settings are stored as they were before there
        were those of `later`, by default before all of them."""
        from recsweep.tuning import definition
        from recsweep.tuning.earlier import LATER

        settings = definition._fixed_settings

        def earlier(*overrides: str, later=LATER):
            def without_later(*arguments):
                return {
                    name: value for name, value in settings(*arguments).items() if name not in later
                }

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(definition, "_fixed_settings", without_later)
                return sweep(*overrides)

        return earlier

    @pytest.mark.parametrize(
        "name", [(), ("hydra.sweeper.study_name=mine",)], ids=["named by content", "named"]
    )
    def test_goes_on_with_what_it_was_begun_with(self, earlier, sweep, store, name):
        first = earlier(*self.SPACE, *name, "hydra.sweeper.n_trials=2")
        record = sweep(*self.SPACE, *name, "hydra.sweeper.n_trials=3")
        assert (record.name, len(record.trials)) == (first.name, 3)
        tags = {
            tags["trial_number"]: tags for _, tags in runs(store).values() if "trial_number" in tags
        }
        assert tags["0"]["candidates"] == "part"
        assert tags["2"]["candidates"] == "not_liked"
        params = dict(
            sqlite3.connect(store / "mlflow.db")
            .execute("select key, value from params where run_uuid = ?", (tags["2"]["run_id"],))
            .fetchall()
        )
        assert params["model.normalize"] == "True"

    def test_with_one_of_these_settings_given_it_is_another(self, earlier, sweep, refused):
        name = "hydra.sweeper.study_name=mine"
        earlier(*self.SPACE, name, "hydra.sweeper.n_trials=1")
        assert "evaluation.candidates: (not there) -> unseen" in refused(
            *self.SPACE, name, "hydra.sweeper.n_trials=1", "evaluation.candidates=unseen"
        )

    def test_of_one_that_knew_some_of_them_the_others_are_as_they_were(
        self, earlier, sweep, store, caplog
    ):
        """It knew what lists are chosen from, but not that epochs can be evaluated on a sample."""
        study = ("split=per_user_ratio", "examples=sampled", "optimizer.lr=interval(0.001,0.1)")
        first = earlier(*study, "hydra.sweeper.n_trials=1", later=["evaluation.validation_users"])
        record = sweep(*study, "hydra.sweeper.n_trials=2")
        assert (record.name, len(record.trials)) == (first.name, 2)
        params = dict(
            sqlite3.connect(store / "mlflow.db")
            .execute("select key, value from params where run_uuid = ?", (record.trials[1].run_id,))
            .fetchall()
        )
        assert params["evaluation.validation_users"] == "None"
        assert params["evaluation.candidates"] == "part"
        (outcome,) = refit(RefitOptions(study=record.name), conf_dir())
        assert outcome.metrics["fit/epochs"] == 1

    def test_its_refits_are_of_the_model_it_chose(self, earlier, store):
        record = earlier(*self.SPACE, "hydra.sweeper.n_trials=1")
        (outcome,) = refit(RefitOptions(study=record.name), conf_dir())
        assert outcome.name.endswith(" normalized")
