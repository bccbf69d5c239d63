"""`recsweep ...`: thin commands, a module each, which import what they need only after the
arguments have been read."""

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from recsweep.cli.arguments import Parser, parted
from recsweep.errors import RecsweepError
from recsweep.logs import log_to_stderr
from recsweep.masking import mask

if TYPE_CHECKING:
    from omegaconf import DictConfig


READER_GONE = 141
"""Exit status where nobody reads what is printed, as a shell tells the signal SIGPIPE."""


@contextmanager
def _stopping(interrupted: str = "interrupted") -> Iterator[None]:
    """Make one line of what a user can mend, and a status that a script can see.

    Any other error shows where it was raised, without passwords.

    Args:
        interrupted: Sentence after an interrupt; empty for none.
    """
    try:
        yield
        sys.stdout.flush()
    except RecsweepError as error:
        _end(f"error: {' '.join(str(error).splitlines())}")
    except KeyboardInterrupt:
        _end(interrupted, 130)
    except BrokenPipeError:  # of `| head`: whoever reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left is flushed at the exit
        raise SystemExit(READER_GONE) from None
    except MemoryError as error:
        _end(
            f"error: There is not enough memory: {error or 'no more can be had'}. Take fewer users "
            "or items, or smaller dimensions and batches."
        )
    except Exception:
        _end(mask(traceback.format_exc()))


def _end(words: str, status: int = 1) -> NoReturn:
    if words:
        print(words, file=sys.stderr)
    raise SystemExit(status) from None


def train(cfg: "DictConfig") -> None:
    """The task of `train.py` and of `recsweep train`: run one config, print its metrics and where
    they are."""
    log_to_stderr()
    with _stopping("interrupted: the run is marked KILLED, and keeps what was logged."):
        from recsweep.mistakes import refuse_unused

        if cfg.get("trial") is not None:  # a job of a launcher: its study tells how it went
            from recsweep.tuning.sweep import run_attached

            run_attached(cfg)
            return
        refuse_unused(cfg)
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
    with _stopping(interrupted=""):
        from recsweep.mistakes import refuse_unused
        from recsweep.tuning.conduct import conduct
        from recsweep.tuning.options import StudyOptions
        from recsweep.tuning.sweep import Job

        options = StudyOptions.of(settings)
        refuse_unused(master, [*(options.params or ()), *arguments])
        job = Job(config_loader, master, tuple(arguments), launch)
        return conduct(options, job)


def train_command(main: Callable[[], None]) -> None:
    """Let Hydra run its command line.

    What Hydra raises on the way to the config is one line, as all else; with HYDRA_FULL_ERROR=1 it
    shows where.

    Args:
        main: What `hydra.main` makes of the task.
    """
    is_shown = os.environ.get("HYDRA_FULL_ERROR") == "1"
    with _stopping():
        from recsweep.mistakes import composed_in_words

        flags, overrides = parted(sys.argv[1:], Path(sys.argv[0]).name)
        sys.argv[1:] = [*flags, *overrides]
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises then what it would print and end with
        try:
            with nullcontext() if is_shown else composed_in_words(overrides):
                main()
        finally:
            if not is_shown:
                del os.environ["HYDRA_FULL_ERROR"]


def _parser() -> tuple[Parser, dict[str, Parser]]:
    """The parser of the command line, and that of each command."""
    from recsweep.cli import compare, promote, recommend, refit, runs, serve, ui

    parser = Parser(
        prog="recsweep",
        description="Sweep, track, compare and promote recommender models.",
        epilog="`recsweep train` takes the settings of a run as name=value; `recsweep train "
        "--help` lists them.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("train", help="train one model, or several with -m", add_help=False)
    for module in (runs, compare, refit, promote, recommend, serve, ui):
        module.add_to(commands)
    return parser, commands.choices


def main() -> None:
    """The `recsweep` command."""
    with _stopping():
        if sys.argv[1:2] == ["train"]:  # everything after it is Hydra's
            _train(sys.argv[2:])
            return
        parser, parsers = _parser()
        arguments, rest = parser.parse_known_args()
        if arguments.command == "refit" and not any(word.startswith("-") for word in rest):
            arguments.overrides += rest  # argparse takes those after an option for strangers
        elif rest:
            parsers[arguments.command].error(f"unrecognized arguments: {' '.join(rest)}")
        log_to_stderr()
        arguments.run(arguments)


def _train(words: Sequence[str]) -> None:
    import hydra

    from recsweep.config import conf_dir

    sys.argv = ["recsweep train", *words]
    train_command(
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(train)
    )
