"""`recsweep ...`: thin commands, a module each, which import what they need only after the
arguments have been read."""

import argparse
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsweep.errors import RecsweepError
from recsweep.logs import log_to_stderr, mask_terminal
from recsweep.masking import mask, mask_files

if TYPE_CHECKING:
    from omegaconf import DictConfig


@contextmanager
def _stopping(interrupted: str = "", *, masks: bool = True) -> Iterator[None]:
    """Make one line of what a user can mend, and a status that a script can see.

    Args:
        interrupted: Sentence after an interrupt; empty for none.
        masks: Whether the traceback of any other error is printed without passwords: Hydra would
            print it beside the overrides.
    """
    try:
        yield
    except RecsweepError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        if interrupted:
            print(interrupted, file=sys.stderr)
        raise SystemExit(130) from None
    except Exception:
        if not masks:
            raise
        print(mask(traceback.format_exc()), file=sys.stderr)
        raise SystemExit(1) from None


def train(cfg: "DictConfig") -> None:
    """The task of `train.py` and of `recsweep train`: run one config, print its metrics and where
    they are."""
    log_to_stderr()
    with _stopping("interrupted: the run is marked KILLED, and keeps what was logged."):
        _mask_output_folder()
        if cfg.get("trial") is not None:  # a job of a launcher: its study tells how it went
            from recsweep.tuning.sweep import run_attached

            run_attached(cfg)
            return
        from recsweep.pipeline import run

        outcome = run(cfg)
    from recsweep.rendering import print_tables
    from recsweep.run.tables import report_tables

    fit = outcome.fit
    print(
        f"\n{outcome.name}: epoch {fit.kept_epoch} of {fit.epochs} kept, {fit.seconds:.1f} s, run "
        f"{outcome.run_id}"
    )
    for report in (outcome.validation, outcome.test):
        if report is not None:
            print_tables(*report_tables(report))


def _mask_output_folder() -> None:
    """Mask what Hydra has written into a folder of its own, where one was asked for."""
    from hydra.core.hydra_config import HydraConfig

    if HydraConfig.initialized() and (folder := HydraConfig.get().output_subdir) is not None:
        mask_files(Path(HydraConfig.get().runtime.output_dir) / folder)


def study(
    settings: dict[str, Any],
    config_loader: Any,
    master: "DictConfig",
    arguments: Sequence[str],
    launch: Callable[..., Sequence[Any]] | None,
) -> Any:
    """What `-m` does: conduct a study, print its leaderboard.

    Args:
        settings: The node hydra.sweeper, without its `_target_`.
        config_loader: Hydra's.
        master: Hydra's config of the multirun.
        arguments: The overrides of the command line.
        launch: A Hydra launcher's `launch`; None trains in this process, or in n_jobs workers.
    """
    log_to_stderr()
    with _stopping():
        from recsweep.tuning.conduct import conduct
        from recsweep.tuning.options import StudyOptions
        from recsweep.tuning.sweep import Job

        job = Job(config_loader, master, tuple(arguments), launch)
        return conduct(StudyOptions(**settings), job)


def _train_command(overrides: Sequence[str]) -> None:
    import hydra

    from recsweep.config import conf_dir

    sys.argv = ["recsweep train", *overrides]
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(train)()


def _parser() -> argparse.ArgumentParser:
    from recsweep.cli import compare, promote, recommend, refit, runs, serve, ui

    parser = argparse.ArgumentParser(
        prog="recsweep",
        description="Sweep, track, compare and promote recommender models.",
        epilog="`recsweep train` takes the settings of a run as name=value; `recsweep train "
        "--help` lists them.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("train", help="train one model, or several with -m", add_help=False)
    for module in (runs, compare, refit, promote, recommend, serve, ui):
        module.add_to(commands)
    return parser


def main() -> None:
    """The `recsweep` command."""
    mask_terminal()
    if sys.argv[1:2] == ["train"]:  # everything after it is Hydra's
        _train_command(sys.argv[2:])
        return
    parser = _parser()
    arguments, rest = parser.parse_known_args()
    if arguments.command == "refit" and not any(word.startswith("-") for word in rest):
        arguments.overrides += rest  # argparse takes those after an option for strangers
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    log_to_stderr()
    with _stopping("interrupted", masks=False):
        arguments.run(arguments)
