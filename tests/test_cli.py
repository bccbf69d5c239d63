"""`python train.py` and `recsweep` as people meet them: what they answer, and what they say of a
mistake."""

import argparse
import json
import logging
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from recsweep import cli
from recsweep.logs import log_to_stderr
from recsweep.tracking import Tracker, TrackingOptions
from tests.stored_runs import log_run

REPOSITORY = Path(__file__).parents[1]
MODELS = REPOSITORY / "conf" / "model"
HEAVY = ["mlflow", "pytorch_lightning", "torch"]
TINY = ["data.num_users=60", "data.num_items=50", "data.density=0.15", "trainer.max_epochs=1"]

PROBE = f"""
import atexit, runpy, sys
sys.argv = sys.argv[1:]
atexit.register(lambda: print(
    "imported:", [name for name in {HEAVY} if name in sys.modules], file=sys.stderr))
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script, and says at its end which of the slow libraries it imported."""


def _probe(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", PROBE, *command], cwd=cwd, capture_output=True, text=True, timeout=60
    )


def _assert_light(done: subprocess.CompletedProcess) -> None:
    assert done.stderr.splitlines()[-1] == "imported: []"


def _assert_one_error(done: subprocess.CompletedProcess, *parts: str) -> None:
    """The last words are one error in words, with a status that a script can see."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    error = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(error) == 1, done.stderr
    for part in parts:
        assert part in error[0]


def _statuses(folder: Path) -> list[str]:
    connection = sqlite3.connect(folder / "mlflow.db")
    found = connection.execute("select status from runs").fetchall()
    connection.close()
    return [status for (status,) in found]


class TestHelp:
    def test_of_train_py_lists_the_settings(self, tmp_path):
        done = _probe(REPOSITORY / "train.py", "--help", cwd=tmp_path)
        assert done.returncode == 0
        for setting in (
            "one of " + ", ".join(sorted(path.stem for path in MODELS.glob("*.yaml"))),
            "model.user_dim=15 Length of a user's embedding.",
            "trainer.max_epochs=20 Passes over the examples.",
            "trainer.keep=best The weights of the best epoch on validation; or last.",
            "hydra.sweeper.n_trials=null How many trials a search has; null: 20, or every",
            "a text with a comma or a space",
        ):
            assert setting in " ".join(done.stdout.split())
        _assert_light(done)
        assert list(tmp_path.iterdir()) == []

    def test_of_recsweep_train_is_the_same(self, recsweep, train):
        ours, theirs = recsweep("train", "--help"), train("--help")
        assert ours.returncode == 0
        assert (
            ours.stdout.splitlines()[1:] == theirs.stdout.splitlines()[1:]
        )  # the first line has the program's name

    def test_of_recsweep_lists_the_commands(self, tmp_path):
        done = _probe(Path(sys.executable).with_name("recsweep"), "--help", cwd=tmp_path)
        assert done.returncode == 0
        for command in ("train", "runs"):
            assert f"\n    {command} " in done.stdout
        _assert_light(done)

    def test_no_command_is_a_mistake(self, recsweep):
        done = recsweep()
        assert done.returncode == 2
        assert "required: COMMAND" in done.stderr


class TestSettings:
    """A mistake is said with its rule, its value and its remedy before any slow library is
    imported."""

    @pytest.mark.parametrize(
        ("override", "said"),
        [
            ("model.user_dim=0", "model.user_dim must be a whole number of at least 1, not 0."),
            (
                "trainer.max_epochs=abc",
                "trainer.max_epochs must be a whole number of at least 1, not 'abc'.",
            ),
            (
                "split.validation=0.9",
                "must stay below 1, to leave something for train, not 0.9 + 0.2.",
            ),
            ("trainer.keep=first", "trainer.keep must be one of best, last, not 'first'."),
            (
                "data=csv",
                "data.path is null, and no data set to download is named. Set data.path to your "
                "file.",
            ),
            (
                "seed=${nowhere}",
                "The setting seed can't be used: Interpolation key 'nowhere' not found.",
            ),
        ],
    )
    def test_an_impossible_value(self, override, said, tmp_path):
        done = _probe(REPOSITORY / "train.py", override, cwd=tmp_path)
        _assert_one_error(done, said)
        _assert_light(done)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("override", "said"),
        [
            ("model=nonsense", ["model has no option nonsense.", "There are ", "recipe_net"]),
            ("model.user_dimm=3", ["no setting model.user_dimm", "Did you mean model.user_dim?"]),
            ("modell=knn", ["no setting modell.", "Did you mean model?"]),
        ],
    )
    def test_an_unknown_option_or_name(self, override, said, tmp_path):
        done = _probe(REPOSITORY / "train.py", override, cwd=tmp_path)
        _assert_one_error(done, *said)
        _assert_light(done)
        assert list(tmp_path.iterdir()) == []


class TestInProcess:
    """What `train.py` and `recsweep` call, with what they print."""

    @pytest.fixture(autouse=True)
    def _own_handlers(self, monkeypatch):
        monkeypatch.setattr(logging.root, "handlers", [])

    @pytest.fixture
    def error(self, capsys):
        """error(cfg): the last line that `train` says of a config that can't be run."""

        def error(cfg) -> str:
            with pytest.raises(SystemExit) as stopped:
                cli.train(cfg)
            assert stopped.value.code == 1
            lines = capsys.readouterr().err.splitlines()
            assert sum(line.startswith("error: ") for line in lines) == 1
            return lines[-1].removeprefix("error: ")

        return error

    @pytest.mark.parametrize(
        ("content", "settings", "said"),
        [
            (None, [], ["There is no file", "Set data.path"]),
            ("", [], ["likes.csv", "empty"]),
            ("user_id,item_id,rating\n", [], ["has a header and no rows"]),
            (
                "customer,product,stars\n1,2,5\n",
                [],
                ["no column 'user_id'", "customer, product, stars", "data.user_column"],
            ),
            ("user_id,item_id,rating\n1,2,good\n", [], ["'rating' must hold a number", "'good'"]),
            ("user_id,item_id,rating\n1,2,nan\n", [], ["'rating' must hold a number"]),
            ("user_id,item_id,rating\n1,2,3\n", [], ["no positive", "Lower data.positive_rating"]),
            (
                "user_id,item_id,rating\n1,2,5\n",
                ["data.num_users=9"],
                ["asks for more users than the 1"],
            ),
            ("user_id,item_id,rating\n1,2,5\n1,3,1\n", [], ["split"]),
        ],
        ids=[
            "missing",
            "empty",
            "no rows",
            "other header",
            "text rating",
            "nan rating",
            "no positive",
            "few users",
            "few positives",
        ],
    )
    def test_data_that_cannot_be_used(
        self, content, settings, said, compose, store, tmp_path, error
    ):
        path = tmp_path / "likes.csv"
        if content is not None:
            path.write_text(content)
        message = error(compose("data=csv", f"data.path={path}", "model=popularity", *settings))
        for part in said:
            assert part in message
        assert _statuses(store) == []

    def test_a_diverging_fit(self, compose, store, error):
        message = error(compose("optimizer=sgd", "optimizer.lr=1e9"))
        assert "training loss became" in message
        assert "Lower optimizer.lr" in message
        assert _statuses(store) == ["FAILED"]

    def test_a_store_that_is_away(self, compose, error):
        message = error(
            compose("model=popularity", "tracking.uri='http://anna:s3cret@127.0.0.1:9'")
        )
        assert message.startswith("The MLflow store http://anna:***@127.0.0.1:9 can't be used")
        assert "s3cret" not in message

    def test_an_error_of_the_program_shows_where_but_no_secret(self, compose, monkeypatch, capsys):
        def broken(cfg):
            raise ZeroDivisionError(f"with {cfg.tracking.uri}")

        monkeypatch.setattr("recsweep.pipeline.run", broken)
        with pytest.raises(SystemExit) as stopped:
            cli.train(compose("tracking.uri='http://anna:s3cret@host'"))
        assert stopped.value.code == 1
        said = capsys.readouterr().err
        assert "in broken\n" in said
        assert "ZeroDivisionError: with http://anna:***@host" in said
        assert "s3cret" not in said

    def test_an_interrupt(self, compose, monkeypatch, capsys):
        def interrupted(cfg):
            raise KeyboardInterrupt

        monkeypatch.setattr("recsweep.pipeline.run", interrupted)
        with pytest.raises(SystemExit) as stopped:
            cli.train(compose())
        assert stopped.value.code == 130
        assert "interrupted: the run is marked KILLED" in capsys.readouterr().err

    def test_logs_hide_secrets(self, monkeypatch, capsys):
        log_to_stderr()
        log_to_stderr()
        logging.getLogger("recsweep.tracking").info("to %s", "http://anna:s3cret@host")
        assert capsys.readouterr().err == "to http://anna:***@host\n"

    def test_a_run_ends_with_a_table_of_its_metrics(self, compose, store, capsys):
        cli.train(compose("model=popularity", "evaluation.test=true"))
        said = capsys.readouterr().out
        opened = Tracker(TrackingOptions(uri=None, experiment="recsweep"))
        (run,) = opened.client.search_runs([opened.experiment_id])
        assert "popularity: epoch 1 of 1" in said
        assert run.info.run_id in said
        for metric in ("mse", "average_precision", "ndcg_at_10"):
            for part in ("validation", "test"):
                assert f" {run.data.metrics[f'{part}/{metric}']:.4f} " in said

    def _runs(self, monkeypatch, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["recsweep", "runs", *arguments])
        cli.main()

    def test_runs_stand_side_by_side(self, store, monkeypatch, capsys):
        opened = Tracker(TrackingOptions(uri=None, experiment="recsweep"))
        for name, mse in (("one", 0.25), ("two", 0.125)):
            log_run(opened, name, metrics={"validation/mse": mse, "test/mse": 2 * mse})
        log_run(opened, "three", metrics={"validation/mse": 0.5}, tags={"seed": "7"})
        self._runs(monkeypatch)
        said = capsys.readouterr().out
        for part in ("toy", "data d1", "split s1", "validation"):
            assert part in said
        rows = [
            [cell.strip() for cell in line.split("│")[1:4:2]]
            for line in said.splitlines()
            if line.startswith("│")
        ]
        assert rows == [["one", "0.2500"], ["two", "0.1250"], ["three", "0.5000"]]
        assert f"ui --tracking-uri sqlite:///{store}/mlflow.db\n" in said
        self._runs(monkeypatch, "--on", "test", "--last", "2")
        said = capsys.readouterr().out
        assert "0.2500" in said
        assert "one" not in said
        assert "three" not in said
        assert "1 run is not shown, without the test part." in said

    def test_runs_are_sorted_and_chosen(self, store, monkeypatch, capsys):
        opened = Tracker(TrackingOptions(uri=None, experiment="recsweep"))
        for name, mse, f1 in (("one", 0.25, 0.3), ("two", 0.125, 0.1), ("three", 0.5, 0.2)):
            log_run(
                opened,
                name,
                metrics={"validation/mse": mse, "validation/f1_at_half": f1},
                tags={"objective": "validation/mse", "study": "s" if f1 < 0.3 else "other"},
            )

        def names(*arguments: str) -> list[str]:
            self._runs(monkeypatch, *arguments, "--format", "json")
            return [
                row["model"]
                for group in json.loads(capsys.readouterr().out)
                for row in group["rows"]
            ]

        assert names() == ["two", "one", "three"]
        assert names("--sort", "f1_at_half") == ["one", "three", "two"]
        assert names("--sort", "started") == ["one", "two", "three"]
        assert names("--study", "s") == ["two", "three"]
        assert names("--where", "mse<=0.25", "--where", "f1_at_half>0.1") == ["one"]
        assert names("--where", "study!=s", "--last", "1") == ["one"]
        for wrong, words in (
            (("--sort", "f1_at_hal"), "No run has 'f1_at_hal'. Did you mean f1_at_half?"),
            (("--columns", "zzz"), "There are f1_at_half, mse, and settings, as seed"),
            (("--where", "mse"), "--where takes NAME=VALUE"),
        ):
            with pytest.raises(SystemExit):
                names(*wrong)
            assert words in capsys.readouterr().err
        self._runs(monkeypatch, "--columns", "seed,mse")
        assert "┃ model ┃ run      ┃ seed ┃    MSE ┃" in capsys.readouterr().out

    @pytest.mark.parametrize("last", ["0", "-1"])
    def test_a_table_has_at_least_one_row(self, last, store, monkeypatch, capsys):
        with pytest.raises(SystemExit) as stopped:
            self._runs(monkeypatch, "--last", last)
        assert stopped.value.code == 1
        assert (
            f"error: --last must be a whole number of at least 1, not {last}."
            in capsys.readouterr().err
        )

    def test_no_runs_yet(self, store, monkeypatch, capsys):
        with pytest.raises(SystemExit) as stopped:
            self._runs(monkeypatch, "--experiment", "other")
        assert stopped.value.code == 1
        assert "error: The MLflow experiment 'other'" in capsys.readouterr().err


class TestWholeCommands:
    def test_recsweep_train_then_recsweep_runs(self, recsweep, store, tmp_path):
        done = recsweep("train", "model=popularity", *TINY)
        assert done.returncode == 0, done.stderr
        assert "synthetic: 60 users x 50 items" in done.stderr
        assert "popularity: epoch 1 of 1" in done.stdout
        assert _statuses(store) == ["FINISHED"]
        assert {path.name for path in tmp_path.iterdir()} == {"store"}, (
            "a run leaves something beside the store"
        )
        done = recsweep("runs")
        assert done.returncode == 0, done.stderr
        assert "popularity" in done.stdout
        assert f"ui --tracking-uri sqlite:///{store}/mlflow.db\n" in done.stdout

    @pytest.mark.slow
    def test_a_multirun_makes_a_run_of_each_and_one_of_their_study(self, train, store):
        done = train("-m", "model.user_dim=2,3", *TINY)
        assert done.returncode == 0, done.stderr
        assert _statuses(store) == ["FINISHED", "FINISHED", "FINISHED"]
        for name in ("recipe_net 2/25/128 mse adam", "recipe_net 3/25/128 mse adam"):
            assert name in done.stdout
        assert done.stderr.count("60 users x 50 items") == 1, "the data were read twice"

    @pytest.mark.slow
    def test_without_a_setting_the_store_is_mlruns_in_the_current_folder(self, train, tmp_path):
        done = train("model=popularity", *TINY)
        assert done.returncode == 0, done.stderr
        assert {path.name for path in tmp_path.iterdir()} == {"mlruns"}
        assert _statuses(tmp_path / "mlruns") == ["FINISHED"]
        assert (tmp_path / "mlruns" / "artifacts").is_dir()


class TestDisks:
    """A store that can't be written ends in one error in words."""

    def test_its_folder_cannot_be_made(self, train, tmp_path):
        (tmp_path / "file").write_text("a file")
        done = train(
            "model=popularity",
            *TINY,
            env={**os.environ, "RECSWEEP_HOME": str(tmp_path / "file" / "store")},
        )
        _assert_one_error(done, "Not a directory", "RECSWEEP_HOME=/path")

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("limit", "model"),
        [(40_000, ["popularity"]), (1_500_000, ["recipe_net", "model.user_dim=9000"])],
        ids=["database", "model"],
    )
    def test_no_file_may_grow(self, limit, model, train, store):
        def limited():
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        done = train(f"model={model[0]}", *TINY, *model[1:], preexec_fn=limited)
        _assert_one_error(done, "the limit on the size of files (ulimit -f)")
        assert "FINISHED" not in _statuses(store)
        assert "RUNNING" not in _statuses(store)

    @pytest.mark.slow
    @pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="mounts in a namespace of one's own"
    )
    @pytest.mark.parametrize(
        ("mount", "said"),
        [
            (
                'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0"',
                "write a readonly database",
            ),
            (
                'cp "$0"/mlflow.db "$0".db && mount -t tmpfs -o size=1000k none "$0" '
                '&& mv "$0".db "$0"/mlflow.db',
                "the disk is full",
            ),
        ],
        ids=["read-only", "full"],
    )
    def test_a_mount(self, mount, said, store, tmp_path):
        isolated = [shutil.which("unshare") or "unshare", "--map-root-user", "--mount", "sh", "-c"]
        try:
            subprocess.run([*isolated, mount, store], check=True, capture_output=True, timeout=20)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no mounts here: {error}")
        command = [sys.executable, REPOSITORY / "train.py", "model=popularity", *TINY]
        done = subprocess.run(
            [*isolated, f'{mount} && exec "$@"', store, *command],
            cwd=tmp_path,
            timeout=120,
            capture_output=True,
            text=True,
        )
        _assert_one_error(done, said)


class TestFlags:
    def test_version_and_module(self, recsweep, tmp_path):
        assert recsweep("--version").stdout.startswith("recsweep 0.")
        words = [sys.executable, "-m", "recsweep", "--version"]
        done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=True)
        assert done.stdout.startswith("recsweep 0.")

    def test_help_ends_quietly_where_nobody_reads_it(self, tmp_path: Path):
        """As with `| head`: no word, and the status that a shell tells of it."""
        reading, writing = os.pipe()
        os.close(reading)
        command = [sys.executable, REPOSITORY / "train.py", "--help"]
        done = subprocess.run(
            command, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, timeout=60
        )
        os.close(writing)
        assert (done.returncode, done.stderr) == (141, b"")

    def test_quiet_and_verbose(self, recsweep, train):
        loud = train("model=popularity", *TINY)
        assert "synthetic: 60 users" in loud.stderr
        quiet = train("--quiet", "model=popularity", *TINY)
        assert (quiet.returncode, quiet.stderr) == (0, "")
        assert "popularity: epoch 1 of 1" in quiet.stdout
        assert "popularity: epoch 1 of 1" in train("model=popularity", *TINY, "-q").stdout
        assert "Next: " in loud.stdout
        assert "Next: " not in quiet.stdout
        assert "Open the runs in a browser: " in recsweep("runs").stdout
        silent = recsweep("runs", "--quiet", "--format", "json")
        assert silent.stderr == ""
        assert json.loads(silent.stdout)[0]["rows"]
        wrong = recsweep("runs", "--verbose", "--where", "x")
        assert wrong.stderr.startswith("Traceback")
        assert wrong.stderr.splitlines()[-1].startswith("error: --where takes")
        assert recsweep("runs", "--where", "x").stderr.startswith("error: ")

    @pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
    def test_completion(self, shell, recsweep):
        done = recsweep("completion", shell)
        assert done.returncode == 0
        for word in ("compare", "tracking-uri", "relocate"):
            assert word in done.stdout


def test_help_that_hydra_has_as_an_object_is_text(monkeypatch):
    """Python 3.14 reads it as an option is added, and every command of Hydra would end there."""
    monkeypatch.setattr(sys, "argv", ["train.py"])
    helps = []

    class Lazy:
        def __repr__(self) -> str:
            return "made 100% late"

    def main() -> None:
        parser = argparse.ArgumentParser()
        parser.add_argument("--late", help=Lazy())
        helps.append(parser.format_help())

    cli.train_command(main)
    assert "made 100% late" in helps[0]


def test_named_studies(recsweep, tmp_path):
    listed = recsweep("study")
    assert "how far do the simple models get, each at its best setting?" in listed.stdout
    assert "Did you mean baselines?" in recsweep("study", "baseline").stderr
    done = recsweep("study", "optimizer", *TINY, "--cfg", "job")
    assert "num_users: 60" in done.stdout
    done = recsweep("study", "optimizer", "-h")
    assert "optimizer.lr=" in done.stdout


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("inspect likes.csv", "reading the file …"),
        ("train model=knn data.path=likes.csv", "reading the settings …"),
        ("study baselines data.path=likes.csv", "reading the settings …"),
        *(
            (words, "opening the store …")
            for words in (
                "runs",
                "studies",
                "compare",
                "refit some",
                "promote some",
                "rollback",
                "champion",
                "recommend --user 1",
                "serve",
                "sync",
                "relocate",
                "worker some",
            )
        ),
    ],
)
def test_at_a_terminal_something_is_said_before_anything_is_done(
    words, first, monkeypatch, capsys, tmp_path
):
    """Here each then ends with a mistake in words: there is no file and no store, or nothing to
    do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECSWEEP_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(logging.root, "handlers", [])
    monkeypatch.setattr("recsweep.cli.shows_progress", lambda: True)
    monkeypatch.setattr("recsweep.cli._train", _train_nothing)
    monkeypatch.setattr(sys, "argv", ["recsweep", *words.split()])
    with suppress(SystemExit):
        cli.main()
    assert capsys.readouterr().err.splitlines()[0] == first


def _train_nothing(words: list[str]) -> None:
    """The command up to where Hydra would go on."""
    sys.argv = ["recsweep train", *words]
    cli.train_command(lambda: None)
