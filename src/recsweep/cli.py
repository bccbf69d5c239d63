"""`recsweep ...`: thin commands. Each imports what it needs only after its arguments have been read."""

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsweep.checks import check_integer
from recsweep.errors import FitError, RecsweepError
from recsweep.masking import mask

if TYPE_CHECKING:
    from omegaconf import DictConfig


class _MaskedFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return mask(super().format(record))


def _log_to_stderr() -> None:
    if not any(isinstance(handler.formatter, _MaskedFormatter) for handler in logging.root.handlers):
        handler = logging.StreamHandler()
        handler.setFormatter(_MaskedFormatter("%(message)s"))
        logging.root.addHandler(handler)
    logging.getLogger("recsweep").setLevel(logging.INFO)


def _stop(error: RecsweepError) -> None:
    """One line for what a user can mend, and a status that a script can see."""
    print(f"error: {error}", file=sys.stderr)
    raise SystemExit(1)


def train(cfg: "DictConfig") -> None:
    """The task of `train.py` and of `recsweep train`: run one config, print its metrics and where they are."""
    _log_to_stderr()
    try:
        if cfg.get("trial") is not None:  # a job of a launcher: its study tells how it went
            _train_trial(cfg)
            return
        from recsweep.pipeline import run

        outcome = run(cfg)
    except RecsweepError as error:
        _stop(error)
    except KeyboardInterrupt:
        print("interrupted: the run is marked KILLED, and keeps what was logged.", file=sys.stderr)
        raise SystemExit(130) from None
    except Exception:  # Hydra would print it beside the overrides, passwords and all
        print(mask(traceback.format_exc()), file=sys.stderr)
        raise SystemExit(1) from None
    from recsweep.report import report_tables

    fit = outcome.fit
    print(f"\n{outcome.name}: epoch {fit.kept_epoch} of {fit.epochs} kept, {fit.seconds:.1f} s, run {outcome.run_id}")
    for report in (outcome.validation, outcome.test):
        if report is not None:
            _print(report_tables(report))


def _train_trial(cfg: "DictConfig") -> None:
    from recsweep.tuning.sweep import run_trial

    run_trial(cfg, _run_many)


def _run_many(cfgs: "Sequence[DictConfig]") -> Sequence[Any]:
    """The main path, in whatever process a study trains."""
    from recsweep.pipeline import run_many

    _log_to_stderr()
    return run_many(cfgs)


def study(settings: dict[str, Any], config_loader: Any, master: "DictConfig", arguments: Sequence[str],
          launch: Callable[..., Sequence[Any]] | None) -> Any:
    """What `-m` does: conduct a study, print its leaderboard.

    Args:
        settings: The node hydra.sweeper, without its `_target_`.
        config_loader: Hydra's.
        master: Hydra's config of the multirun.
        arguments: The overrides of the command line.
        launch: Of a Hydra launcher; None trains in this process, or in n_jobs workers.
    """
    _log_to_stderr()
    try:
        from recsweep.pipeline import effective_config, plan
        from recsweep.tuning.conduct import conduct
        from recsweep.tuning.options import StudyOptions
        from recsweep.tuning.sweep import Job, Tools

        job = Job(config_loader, master, tuple(arguments), launch)
        return conduct(StudyOptions(**settings), job, Tools(_run_many, plan, effective_config))
    except RecsweepError as error:
        _stop(error)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception:  # Hydra would print it beside the overrides, passwords and all
        print(mask(traceback.format_exc()), file=sys.stderr)
        raise SystemExit(1) from None


def _print(table: object) -> None:
    from recsweep.tuning.progress import wide_console

    wide_console().print(table)


def conf_dir() -> Path:
    """The config groups: inside the installed package, or beside `src/` in a checkout."""
    package = Path(__file__).parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def _train_command(overrides: Sequence[str]) -> None:
    import hydra

    sys.argv = ["recsweep train", *overrides]
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(train)()


def _runs_command(arguments: argparse.Namespace) -> None:
    from recsweep.report import comparison_table
    from recsweep.tracking import TrackingOptions, finished_runs, tracking_uri

    check_integer("--last", arguments.last, minimum=1)
    options = TrackingOptions(uri=arguments.tracking_uri, experiment=arguments.experiment)
    groups = finished_runs(options, last=arguments.last)
    for (data, data_digest, split_digest), rows in groups.items():
        print(f"\n{data} (data {data_digest}, split {split_digest}): {arguments.on}")
        _print(comparison_table(rows, arguments.on))
    print(f"\nOpen the runs in a browser: {_ui_line(tracking_uri(arguments.tracking_uri))}")


def _refit_command(arguments: argparse.Namespace) -> None:
    from recsweep.refit import RefitOptions, count_test_uses, failures, refit, rows_of, spreads_of
    from recsweep.report import comparison_table

    options = RefitOptions(
        study=arguments.study, storage=arguments.storage, trial=arguments.trial, top=arguments.top,
        best_of=arguments.best_of, seeds=arguments.seeds, overrides=tuple(arguments.overrides),
    )
    outcomes = refit(options, conf_dir())
    print(f"\nrefit of {arguments.study}: test")
    _print(comparison_table(rows_of(outcomes), "test"))
    print("\n".join(spreads_of(outcomes)))
    uses = count_test_uses(arguments.study, arguments.storage)
    print(f"The test part has been looked at {uses} times for this study.")
    if failed := failures(outcomes):
        raise FitError("; ".join(failed))


def _ui_line(uri: str) -> str:
    here = Path(sys.executable).with_name("recsweep")
    command = os.path.relpath(here) if here.is_file() else "recsweep"
    return f"{command} ui --tracking-uri '{mask(uri)}'"


def _ui_command(arguments: argparse.Namespace) -> None:
    from recsweep.tracking import Tracker, TrackingOptions

    # opened once here, so that a store that is away is said in words
    store = Tracker(TrackingOptions(uri=arguments.tracking_uri, experiment=arguments.experiment))
    address = f"http://127.0.0.1:{arguments.port}"
    print(f"{address}/#/experiments/{store.experiment_id}/runs?workflowType=machine_learning", flush=True)
    server = ["--backend-store-uri", store.uri, "--host", "127.0.0.1", "--port", str(arguments.port), "--workers", "1"]
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "ui", *server])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="recsweep", description="Sweep, track, compare and promote recommender models.",
        epilog="`recsweep train` takes the settings of a run as name=value; `recsweep train --help` lists them.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("train", help="train one model, or several with -m", add_help=False)
    runs = commands.add_parser("runs", help="a table of the finished runs, side by side")
    runs.add_argument("--last", type=int, default=20, help="how many of the latest runs (default 20)")
    runs.add_argument("--on", choices=("validation", "test"), default="validation", help="which part's metrics")
    runs.set_defaults(run=_runs_command)
    ui = commands.add_parser("ui", help="open the runs in a browser")
    ui.add_argument("--port", type=int, default=5000, help="default 5000")
    ui.set_defaults(run=_ui_command)
    refit = commands.add_parser("refit", help="retrain what a study chose, and evaluate the test part",
                                description="Retrain the winner of a study, or --trial, --top or --best-of, with the "
                                "test part evaluated. Settings are overridden as name=value.")
    refit.add_argument("study", help="its name, as the leaderboard's title shows it")
    refit.add_argument("overrides", nargs="*", metavar="name=value", help="as trainer.max_epochs=20")
    refit.add_argument("--trial", type=int, help="number of the trial (default: the winner)")
    refit.add_argument("--top", type=int, help="so many of the leaderboard")
    refit.add_argument("--best-of", metavar="SETTING", help="the best trial for each value of a setting, as model")
    refit.add_argument("--seeds", type=int, default=1, help="train each with so many seeds (default 1)")
    refit.add_argument("--storage", help="database of studies (default: optuna.db in the store)")
    refit.set_defaults(run=_refit_command)
    for command in (runs, ui):
        command.add_argument("--experiment", default="recsweep", help="MLflow experiment (default recsweep)")
        command.add_argument("--tracking-uri", help="default: MLFLOW_TRACKING_URI, else $RECSWEEP_HOME, else ./mlruns")
    return parser


def main() -> None:
    """The `recsweep` command."""
    if sys.argv[1:2] == ["train"]:  # everything after it is Hydra's
        _train_command(sys.argv[2:])
        return
    parser = _parser()
    arguments, rest = parser.parse_known_args()
    if arguments.command == "refit" and not any(each.startswith("-") for each in rest):
        arguments.overrides += rest  # argparse takes those after an option for strangers
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    _log_to_stderr()
    try:
        arguments.run(arguments)
    except RecsweepError as error:
        _stop(error)
