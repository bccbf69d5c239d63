"""`recsweep ...`: thin commands. Each imports what it needs only after its arguments have been read."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from recsweep.errors import RecsweepError
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
        from recsweep.pipeline import run

        outcome = run(cfg)
    except RecsweepError as error:
        _stop(error)
    except KeyboardInterrupt:
        print("interrupted: the run is marked KILLED, and keeps what was logged.", file=sys.stderr)
        raise SystemExit(130) from None
    from recsweep.report import metrics_table

    reports = [report for report in (outcome.validation, outcome.test) if report is not None]
    title = f"{outcome.name}: epoch {outcome.fit.kept_epoch} of {outcome.fit.epochs}, run {outcome.run_id}"
    _print(metrics_table(title, reports))


def _print(table: object) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a pipe has no width: do not cut what a file or a log will keep
    console.print(table)


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

    options = TrackingOptions(uri=arguments.tracking_uri, experiment=arguments.experiment)
    groups = finished_runs(options, last=arguments.last)
    for (data, data_digest, split_digest), rows in groups.items():
        title = f"{arguments.on} on {data}, data {data_digest}, split {split_digest}"
        _print(comparison_table(title, rows, arguments.on))
    print(f"\nOpen the runs in a browser: {_ui_line(tracking_uri(arguments.tracking_uri))}")


def _ui_line(uri: str) -> str:
    command = Path(sys.executable).with_name("mlflow")
    return f"{command if command.exists() else 'mlflow'} ui --backend-store-uri '{mask(uri)}'"


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
    runs.add_argument("--experiment", default="recsweep", help="MLflow experiment (default recsweep)")
    runs.add_argument("--tracking-uri", help="default: MLFLOW_TRACKING_URI, else $RECSWEEP_HOME, else ./mlruns")
    runs.set_defaults(run=_runs_command)
    return parser


def main() -> None:
    """The `recsweep` command."""
    if sys.argv[1:2] == ["train"]:  # everything after it is Hydra's
        _train_command(sys.argv[2:])
        return
    arguments = _parser().parse_args()
    _log_to_stderr()
    try:
        arguments.run(arguments)
    except RecsweepError as error:
        _stop(error)
