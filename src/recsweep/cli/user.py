"""`recsweep user`: who may log to the team's MLflow server."""

import argparse
import getpass
import os
import sys

from recsweep.cli.store import add_store_options, store_options
from recsweep.errors import ConfigError
from recsweep.terminal import tell

PASSWORD_VARIABLE = "RECSWEEP_USER_PASSWORD"


def add_to(commands: argparse._SubParsersAction) -> None:
    user = commands.add_parser(
        "user",
        help="add a user to the team's MLflow server",
        description="Add a user to the MLflow server in MLFLOW_TRACKING_URI, or give a user "
        "another password. Its administrator alone may: the name and password in "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
    )
    user.add_argument("name")
    user.add_argument(
        "--remove", action="store_true", help="take the user off; what they logged stays"
    )
    add_store_options(user)
    user.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from recsweep.tracking import remove_user, set_user, tracking_uri

    uri = tracking_uri(store_options(arguments).uri)
    if not uri.startswith(("http://", "https://")):
        raise ConfigError(
            f"{uri} has no users. Set MLFLOW_TRACKING_URI to the address of an MLflow server."
        )
    if arguments.remove:
        remove_user(uri, arguments.name)
        tell(f"{arguments.name} is no user any more.")
        return
    is_new = set_user(uri, arguments.name, _password(arguments.name))
    done = "is a user of" if is_new else "has another password at"
    tell(
        f"{arguments.name} {done} {uri}. They set "
        "MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
    )


def _password(name: str) -> str:
    """The new password, from the environment or asked for: the command line is seen by all."""
    if given := os.environ.get(PASSWORD_VARIABLE):
        return given
    if not sys.stdin.isatty():
        raise ConfigError(f"Set the password of {name!r} in {PASSWORD_VARIABLE}.")
    password = getpass.getpass(f"Password for {name}, of at least 12 characters: ")
    if password != getpass.getpass("Once more: "):
        raise ConfigError("The two passwords differ. Run it again.")
    return password
