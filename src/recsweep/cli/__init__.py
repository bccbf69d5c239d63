"""`recsweep ...`: thin commands, a module each, which import what they need only after the
arguments have been read."""

import argparse
import gc
import logging
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from recsweep.cli.arguments import Parser, add_verbosity, parted, take_verbosity
from recsweep.errors import ConfigError, RecsweepError
from recsweep.libraries import leave_out
from recsweep.logs import log_to_stderr, mask_terminal, shows_progress
from recsweep.masking import mask, mask_files
from recsweep.terminal import take_any_text, tell

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)

READER_GONE = 141
"""Exit status where nobody reads what is printed, as a shell tells the signal SIGPIPE."""


AT_ONCE = ("study", "ledger", "completion", "server", "user")
"""Commands that open no store, or say at once what they do."""

READING = ("runs", "champion", "recommend")
"""Commands that read the store, and run no code but recsweep's."""


@contextmanager
def _stopping(interrupted: str = "interrupted") -> Iterator[None]:
    """Make one line of what a user can mend, and a status that a script can see.

    Any other error shows where it was raised, without passwords.

    Args:
        interrupted: Sentence after an interrupt; empty for none.
    """
    try:
        _check_words(sys.argv)
        yield
        sys.stdout.flush()
    except RecsweepError as error:
        log.debug("%s", traceback.format_exc())
        _end(f"error: {' '.join(str(error).splitlines())}", error.exit_status)
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
        tell(words, file=sys.stderr)
    _send_rest(wait=False)
    raise SystemExit(status) from None


PRINTING = {"-c", "--cfg", "-i", "--info", "--hydra-help", "--shell-completion", "-sc", "--version"}
"""Flags of Hydra's by which nothing is trained."""

COLLECT_AFTER = 50_000
"""New objects after which Python looks for those that nobody holds: it looks through all that
MLflow's import makes, again and again, for a sixth of the import's time."""

NOT_SENT = 75
"""Exit status of a command that is done, but for what an MLflow server that is away has not got:
EX_TEMPFAIL of sysexits.h."""


def _send_rest(*, wait: bool = True) -> None:
    """Send what a server that was away has not got, and say what it still has not.

    Raises:
        SystemExit: Something is not sent, though there was time to wait.
    """
    from recsweep.tracking import send_rest

    if names := send_rest(wait=wait):
        tell(
            f"not yet sent: {', '.join(names)}. When the MLflow server is back, send it with: "
            "recsweep sync",
            file=sys.stderr,
        )
        if wait:
            raise SystemExit(NOT_SENT)


def _check_words(words: Sequence[str]) -> None:
    """Raise ConfigError where Python could not read a word of the command line as text."""
    for word in words:
        if any("\ud800" <= letter <= "\udfff" for letter in word):
            raise ConfigError(
                f"{word!r} must be text in {sys.getfilesystemencoding()}, the encoding that the "
                "locale asks for. Set PYTHONUTF8=1 where it is UTF-8, or take another name."
            )


def train(cfg: "DictConfig") -> None:
    """The task of `train.py` and of `recsweep train`: run one config, print its metrics and where
    they are."""
    log_to_stderr()
    with _stopping("interrupted: the run is marked KILLED, and keeps what was logged."):
        from recsweep.mistakes import refuse_unused

        _mask_output_folder()
        refuse_unused(cfg)
        from hydra.core.hydra_config import HydraConfig

        from recsweep.config import note_choices
        from recsweep.pipeline import run
        from recsweep.trust import all_own

        if all_own(cfg):  # code of the user's may want all of MLflow
            leave_out("pandas")
        if HydraConfig.initialized():
            note_choices(cfg, HydraConfig.get().runtime.choices)
        outcome = run(cfg)
    from recsweep.rendering import print_tables
    from recsweep.run.tables import report_tables

    fit = outcome.fit
    tell(
        f"\n{outcome.name}: epoch {fit.kept_epoch} of {fit.epochs} kept, {fit.seconds:.1f} s, run "
        f"{outcome.run_id}"
    )
    for report in (outcome.validation, outcome.test):
        if report is not None:
            print_tables(*report_tables(report))
    tell()
    _hint_next("compare", cfg)
    _send_rest()


def _mask_output_folder() -> None:
    """Mask what Hydra has written into a folder of its own, where one was asked for."""
    from hydra.core.hydra_config import HydraConfig

    if HydraConfig.initialized() and (folder := HydraConfig.get().output_subdir) is not None:
        mask_files(Path(HydraConfig.get().runtime.output_dir) / folder)


def study(
    settings: dict[str, Any], config_loader: Any, master: "DictConfig", arguments: Sequence[str]
) -> Any:
    """What `-m` does: conduct a study, print its leaderboard.

    Args:
        settings: The node hydra.sweeper, without its `_target_`.
        config_loader: Hydra's.
        master: Hydra's config of the multirun.
        arguments: The overrides of the command line.
    """
    log_to_stderr()
    with _stopping(interrupted=""):
        from recsweep.mistakes import launcher_in_words, refuse_unused
        from recsweep.tuning.options import StudyOptions
        from recsweep.tuning.warming import begin_workers

        launcher = str(master.hydra.launcher._target_)
        if not launcher.endswith(".BasicLauncher"):
            raise ConfigError(launcher_in_words(launcher))
        options = StudyOptions.of(settings)
        refuse_unused(master, [*(options.params or ()), *arguments])
        if options.engine == "local":
            begin_workers(options, master, arguments)
        from recsweep.tuning.conduct import conduct
        from recsweep.tuning.sweep import Job

        job = Job(config_loader, master, tuple(arguments))
        record = conduct(options, job)
    has_winner = len(record.directions) == 1 and record.best is not None
    name = shlex.quote(record.name)
    best_of = f" --best-of {record.each}" if record.each is not None else ""
    _hint_next(f"refit {name}{best_of}" if has_winner else f"runs --study {name}", master)
    _send_rest()
    return record


def _hint_next(words: str, cfg: "DictConfig") -> None:
    from recsweep.cli.output import hint
    from recsweep.cli.store import next_line

    hint(next_line(words, cfg.tracking.uri, cfg.tracking.experiment))


def train_command(main: Callable[[], None]) -> None:
    """Let Hydra run its command line.

    What Hydra raises on the way to the config is one line, as all else; with HYDRA_FULL_ERROR=1 it
    shows where.

    Args:
        main: What `hydra.main` makes of the task.
    """
    take_any_text()
    mask_terminal()
    # MLflow asks for it, to log data frames; and Optuna, for importances by forests
    leave_out("polars", "sklearn")
    is_shown = os.environ.get("HYDRA_FULL_ERROR") == "1"
    with _stopping():
        from recsweep.mistakes import composed_in_words
        from recsweep.tuning.arguments import as_meant

        sys.argv[1:] = take_verbosity(sys.argv[1:])
        flags, overrides = parted(sys.argv[1:], Path(sys.argv[0]).name)
        sys.argv[1:] = [*flags, *as_meant(overrides, _experiment(flags))]
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises then what it would print and end with
        try:
            with _help_as_text(), nullcontext() if is_shown else composed_in_words(overrides):
                if {"-h", "--help"}.intersection(flags):
                    from recsweep.cli.settings_help import settings_help

                    tell(settings_help(overrides))
                else:
                    if shows_progress() and not {flag.split("=")[0] for flag in flags} & PRINTING:
                        tell("reading the settings …", file=sys.stderr)
                    main()
        finally:
            if not is_shown:
                del os.environ["HYDRA_FULL_ERROR"]


@contextmanager
def _help_as_text() -> Iterator[None]:
    """Let Hydra make its parser: argparse reads the help of an option as it is added, from Python
    3.14 on, and one of Hydra's is an object (https://github.com/facebookresearch/hydra/issues/3121).
    """
    add = argparse.ArgumentParser.add_argument

    def add_argument(parser: argparse.ArgumentParser, *names: str, **options: Any) -> Any:
        if not isinstance(words := options.get("help"), str | None):
            options["help"] = str(words).replace("%", "%%")
        return add(parser, *names, **options)

    argparse.ArgumentParser.add_argument = add_argument  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        argparse.ArgumentParser.add_argument = add  # type: ignore[method-assign]


def _experiment(flags: Sequence[str]) -> str | None:
    """The config that the flags name, as `-cd experiments -cn mine`, as it is written; empty where
    it can't be read, None where they name none."""
    given = " ".join(flags)
    folder = re.search(r"(?:-cd|--config-dir)[ =](\S+)", given)
    name = re.search(r"(?:-cn|--config-name)[ =](\S+)", given)
    if name is None:
        return None
    path = Path(folder[1] if folder else ".", name[1].removesuffix(".yaml") + ".yaml")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):  # which Hydra says itself
        return ""


def _parser() -> tuple[Parser, dict[str, Parser]]:
    """The parser of the command line, and that of each command."""
    from recsweep.cli import (
        compare,
        completion,
        inspect,
        ledger,
        named_study,
        promote,
        recommend,
        refit,
        relocate,
        runs,
        serve,
        server,
        studies,
        sync,
        ui,
        user,
        worker,
    )

    parser = Parser(
        prog="recsweep",
        description="Sweep, track, compare and promote recommender models.",
        epilog="`recsweep train` takes the settings of a run as name=value; `recsweep train "
        "--help` lists them.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("train", help="train one model, or several with -m", add_help=False)
    modules = (
        inspect,
        runs,
        studies,
        compare,
        named_study,
        refit,
        promote,
        recommend,
        serve,
        ledger,
        sync,
        ui,
        relocate,
        server,
        user,
        completion,
        worker,
    )
    for module in modules:
        module.add_to(commands)
    for command in {id(each): each for each in commands.choices.values()}.values():
        if command.add_help:
            add_verbosity(command)
    parser.add_argument("--version", action="version", version=f"recsweep {_version()}")
    return parser, commands.choices


def command_parser() -> Parser:
    """The parser of the whole command line."""
    return _parser()[0]


def _version() -> str:
    from importlib.metadata import version

    return version("recsweep")


def main() -> None:
    """The `recsweep` command."""
    gc.set_threshold(COLLECT_AFTER)
    take_any_text()
    mask_terminal()
    leave_out("polars")  # MLflow asks for it, to log data frames
    with _stopping():
        if sys.argv[1:2] == ["train"]:  # everything after it is Hydra's
            _train(sys.argv[2:])
            return
        if sys.argv[1:2] == ["study"] and sys.argv[2:3] not in ([], ["-h"], ["--help"]):
            _train(_of_study(*sys.argv[2:]))
            return
        take_verbosity(sys.argv[1:])
        parser, parsers = _parser()
        arguments, rest = parser.parse_known_args()
        takes_settings = arguments.command in ("refit", "inspect", "worker")
        if takes_settings and not any(word.startswith("-") for word in rest):
            arguments.overrides += rest  # argparse takes those after an option for strangers
        elif rest:
            parsers[arguments.command].error(f"unrecognized arguments: {' '.join(rest)}")
        log_to_stderr()
        if arguments.command in READING:
            leave_out("pandas")
        if arguments.command not in AT_ONCE and shows_progress():
            what = "reading the file" if arguments.command == "inspect" else "opening the store"
            tell(f"{what} …", file=sys.stderr)
        arguments.run(arguments)
        _send_rest()


def _of_study(name: str, *words: str) -> list[str]:
    """The words of `recsweep train` that a named study means."""
    from recsweep.checks import meant, short
    from recsweep.config import experiments_dir

    known = sorted(path.stem for path in experiments_dir().glob("*.yaml"))
    if name not in known:
        raise ConfigError(f"There is no named study {short(name)!r}. {meant(name, known)}")
    return ["--config-dir", str(experiments_dir()), "--config-name", name, *words]


def _train(words: Sequence[str]) -> None:
    import hydra

    from recsweep.config import conf_dir

    sys.argv = ["recsweep train", *words]
    train_command(
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(train)
    )
