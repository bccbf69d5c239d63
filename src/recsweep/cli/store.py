"""The options by which every command finds the store, and what points a person to it."""

import argparse
import shlex

from recsweep.masking import mask
from recsweep.rendering import command_line
from recsweep.tracking import EXPERIMENT, TrackingOptions


def add_store_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--experiment", default=EXPERIMENT, help=f"MLflow experiment (default {EXPERIMENT})"
    )
    command.add_argument(
        "--tracking-uri", help="default: MLFLOW_TRACKING_URI, else $RECSWEEP_HOME, else ./mlruns"
    )


def store_options(arguments: argparse.Namespace) -> TrackingOptions:
    return TrackingOptions(uri=arguments.tracking_uri, experiment=arguments.experiment)


def ui_line(uri: str) -> str:
    """What opens the store in a browser: a command, or a server's address."""
    if uri.startswith(("http://", "https://")):
        return mask(uri)
    return command_line(f"ui --tracking-uri '{mask(uri)}'")


def next_line(words: str, uri: str | None = None, experiment: str = EXPERIMENT) -> str:
    """The line that a command ends with: the one to type next, on the same store.

    Args:
        words: The command after `recsweep`.
        uri: The tracking URI that was asked for.
        experiment: The MLflow experiment.
    """
    if experiment != EXPERIMENT:
        words += f" --experiment {shlex.quote(experiment)}"
    if uri is not None:
        words += f" --tracking-uri {shlex.quote(mask(uri))}"
    return f"Next: {command_line(words)}"


def next_here(words: str, arguments: argparse.Namespace) -> str:
    """The same, on the store of these arguments."""
    return next_line(words, arguments.tracking_uri, arguments.experiment)
