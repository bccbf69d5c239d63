"""The options by which every command finds the store, and what points a person to it."""

import argparse
import shlex

from recsweep.masking import mask
from recsweep.rendering import command_line
from recsweep.tracking import EXPERIMENT, TrackingOptions, tracking_uri


def add_store_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--experiment", default=EXPERIMENT, help=f"MLflow experiment (default {EXPERIMENT})"
    )
    command.add_argument(
        "--tracking-uri", help="default: MLFLOW_TRACKING_URI, else $RECSWEEP_HOME, else ./mlruns"
    )


def store_options(arguments: argparse.Namespace) -> TrackingOptions:
    return TrackingOptions(uri=arguments.tracking_uri, experiment=arguments.experiment)


def ui_line(uri: str | None = None, experiment: str = EXPERIMENT) -> str:
    """What opens the store in a browser, from anywhere: a command, or a server's address.

    Args:
        uri: The tracking URI that was asked for.
        experiment: The MLflow experiment.
    """
    if (address := tracking_uri(uri)).startswith(("http://", "https://")):
        return mask(address)
    return _on_the_store("ui", address, experiment)


def ui_here(arguments: argparse.Namespace) -> str:
    """The same of the store of these arguments."""
    return ui_line(arguments.tracking_uri, arguments.experiment)


def next_line(words: str, uri: str | None = None, experiment: str = EXPERIMENT) -> str:
    """The line that a command ends with: the one to type next, on the same store.

    Args:
        words: The command after `recsweep`.
        uri: The tracking URI that was asked for.
        experiment: The MLflow experiment.
    """
    return f"Next: {_on_the_store(words, uri, experiment)}"


def next_here(words: str, arguments: argparse.Namespace) -> str:
    """The same, on the store of these arguments."""
    return next_line(words, arguments.tracking_uri, arguments.experiment)


def _on_the_store(words: str, uri: str | None, experiment: str) -> str:
    if experiment != EXPERIMENT:
        words += f" --experiment {shlex.quote(experiment)}"
    if uri is not None:
        words += f" --tracking-uri {shlex.quote(mask(uri))}"
    return command_line(words)
