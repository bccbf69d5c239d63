"""The options by which every command finds the store, and what points a person to it."""

import argparse

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
