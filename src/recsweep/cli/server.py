"""`recsweep server`: the MLflow server that a team logs to."""

import argparse
import importlib.util
import os
import secrets
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from recsweep.checks import check_integer
from recsweep.cli.serve import check_free, is_loopback, own_names
from recsweep.cli.server_process import conduct_server, private_file
from recsweep.errors import ConfigError, TrackingError
from recsweep.masking import mask
from recsweep.terminal import tell

if TYPE_CHECKING:
    from sqlalchemy import URL

ADMIN = "admin"
"""Name of the user whom the first start makes, who adds the others."""

PASSWORD_VARIABLE = "MLFLOW_AUTH_ADMIN_PASSWORD"

LEAST = 12
"""Characters of a password that MLflow takes."""

CACHE_SECONDS = 300
"""How long a password that was right once is not hashed again, which takes a tenth of a second; so
long another worker of the server may take one that was changed."""

PERMISSIONS = ("READ", "EDIT", "MANAGE")


def add_to(commands: argparse._SubParsersAction) -> None:
    server = commands.add_parser(
        "server",
        help="start the MLflow server that a team logs to",
        description="Start an MLflow server with users, whose runs are in a database and whose "
        "artifacts it keeps itself: other machines need its address alone. Its settings, its key "
        "and its log are in the folder server of $RECSWEEP_HOME (else ./mlruns), which only this "
        "user can read.",
        epilog=f"The first start makes the user {ADMIN!r}, whose password is asked for in "
        f"{PASSWORD_VARIABLE}. `recsweep user NAME` adds the others.",
    )
    stores = server.add_mutually_exclusive_group()
    stores.add_argument(
        "--postgres",
        metavar="URL",
        help="database of runs and users, as postgresql://mlflow@db/runs; its password from "
        "PGPASSWORD or ~/.pgpass (default: the URL in MLFLOW_BACKEND_STORE_URI)",
    )
    stores.add_argument("--sqlite", metavar="FILE", type=Path, help="the same in one file")
    server.add_argument(
        "--artifacts",
        metavar="PLACE",
        required=True,
        help="folder on this machine, or a bucket as s3://bucket/folder",
    )
    server.add_argument("--host", default="127.0.0.1", help="address (default 127.0.0.1)")
    server.add_argument("--port", type=int, default=5000, help="default 5000")
    server.add_argument(
        "--workers", type=int, default=1, help="processes that answer (default 1: see docs/team.md)"
    )
    server.add_argument(
        "--allowed-hosts",
        metavar="NAMES",
        default="",
        help="names by which the server may be called, with commas between (localhost, --host and "
        "the machine's own name always may)",
    )
    server.add_argument(
        "--permission",
        choices=PERMISSIONS,
        default="EDIT",
        help="what each user may do with what others made (default EDIT: log and promote, not "
        "delete)",
    )
    server.add_argument("--no-auth", action="store_true", help="ask nobody for a password")
    server.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    check_integer("--workers", arguments.workers, minimum=1, maximum=64)
    check_free(arguments.host, arguments.port)
    _check_extras(arguments)
    from recsweep.databases import home

    url = _database(arguments)
    place = _place(arguments.artifacts)
    folder = home() / "server"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    environment = _environment(arguments, url, place, folder)
    words = f"mlflow server --host {arguments.host} --port {arguments.port}".split()
    words += ["--workers", str(arguments.workers), "--uvicorn-opts", "--log-level warning"]
    if not arguments.no_auth:
        words += ["--app-name", "basic-auth"]
    tell("starting MLflow …", file=sys.stderr)
    conduct_server(
        "MLflow server",
        words,
        environment,
        folder=folder,
        address=_address(arguments, own=True),
        ready=lambda: tell(_words(arguments, url, place)),
    )


# --- what it stands on ---


def _check_extras(arguments: argparse.Namespace) -> None:
    needed = [] if arguments.no_auth else ["flask_wtf"]
    if arguments.sqlite is None:
        needed.append("psycopg")
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise ConfigError(
            f"recsweep server needs {' and '.join(missing)}, not installed here. Install with: "
            "pip install 'recsweep[server]'"
        )
    if arguments.artifacts.startswith("s3:") and importlib.util.find_spec("boto3") is None:
        raise ConfigError("--artifacts s3://... needs boto3. Install it with: pip install boto3")


def _database(arguments: argparse.Namespace) -> "URL":
    """The database, which answers."""
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    from recsweep.causes import cause_of
    from recsweep.databases import CONNECT_SECONDS, open_database, sqlite_uri

    if arguments.sqlite is not None:
        arguments.sqlite.absolute().parent.mkdir(parents=True, exist_ok=True)
        open_database(uri := sqlite_uri(arguments.sqlite.absolute()))
        return make_url(uri)
    given = arguments.postgres or os.environ.get("MLFLOW_BACKEND_STORE_URI")
    if not given:
        raise ConfigError(
            "recsweep server needs a database: --postgres postgresql://mlflow@db/runs, or --sqlite "
            "FILE."
        )
    try:
        url = make_url(given)
    except ArgumentError:
        raise ConfigError(
            "--postgres must be a URL, as postgresql://mlflow@db:5432/runs, not "
            f"{mask(repr(given))}."
        ) from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise ConfigError(f"--postgres is for PostgreSQL, not for {url.get_backend_name()!r}.")
    if arguments.postgres and _password(url) is not None:
        raise ConfigError(
            "The password in --postgres would be shown to everybody on this machine by `ps`. Leave "
            "it out, and set PGPASSWORD, or write it into ~/.pgpass."
        )
    url = url.set(drivername="postgresql+psycopg")
    try:
        options = {"connect_timeout": CONNECT_SECONDS}
        create_engine(url, connect_args=options).connect().close()
    except SQLAlchemyError as error:
        reason = cause_of(error).reason
        raise TrackingError(
            f"The database {mask(str(url))} can't be reached: {reason}. Start it, make its role "
            "and database (createuser mlflow; createdb -O mlflow runs), or set PGPASSWORD."
        ) from error
    return url


def _place(artifacts: str) -> str:
    """The place of artifacts, a folder as an absolute path."""
    if "://" in artifacts:
        return artifacts
    folder = Path(artifacts).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"--artifacts {folder} can't be made: {error.strerror}.") from error
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"--artifacts {folder} can't be written by this user.")
    return str(folder)


def _environment(
    arguments: argparse.Namespace, url: "URL", place: str, folder: Path
) -> dict[str, str]:
    """What MLflow is told: by its environment and a file, as all see its arguments."""
    own = ("MLFLOW_TRACKING_", "MLFLOW_AUTH_", "MLFLOW_DEFAULT_ARTIFACT_ROOT", "MLFLOW_REGISTRY_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    names = [f"[{name}]" if ":" in name else name for name in sorted(own_names(arguments))]
    origins = [f"{kind}://{name}" for name in names for kind in ("http", "https")]
    environment = {
        **inherited,
        "MLFLOW_ARTIFACTS_DESTINATION": place,
        "MLFLOW_SERVE_ARTIFACTS": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # of judges of language models
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(
            [*names, *(f"{name}:{arguments.port}" for name in names)]
        ),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(
            [*origins, *(f"{origin}:{arguments.port}" for origin in origins)]
        ),
    }
    if (password := _password(url)) is not None:  # which the driver takes from there
        environment["PGPASSWORD"] = password
    environment["MLFLOW_BACKEND_STORE_URI"] = _without_password(url)
    if not arguments.no_auth:
        environment |= _authentication(arguments, url, folder)
    return environment


def _password(url: "URL") -> str | None:
    found = url.password or url.query.get("password")
    return None if found is None else str(found)


def _without_password(url: "URL") -> str:
    query = {name: value for name, value in url.query.items() if name != "password"}
    bare = type(url).create(
        url.drivername, url.username, None, url.host, url.port, url.database, query
    )
    return bare.render_as_string(hide_password=False)


def _authentication(arguments: argparse.Namespace, url: "URL", folder: Path) -> Mapping[str, str]:
    from sqlalchemy import make_url

    from recsweep.databases import sqlite_uri

    if arguments.sqlite is not None:
        url = make_url(sqlite_uri(path := arguments.sqlite.absolute().with_name("users.db")))
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    settings = {
        "default_permission": arguments.permission,
        "database_uri": _without_password(url).replace("%", "%%"),
        "admin_username": ADMIN,
        "auth_cache_ttl_seconds": CACHE_SECONDS,
    }
    lines = [f"{name} = {value}" for name, value in settings.items()]
    with os.fdopen(private_file(folder / "auth.ini"), "w", encoding="utf-8") as stream:
        stream.write("\n".join(["[mlflow]", *lines, ""]))
    if not (key := folder / "key").exists():
        with os.fdopen(private_file(key), "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(32))
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": key.read_text(encoding="ascii"),
    }
    if not _has_admin(url):
        password = os.environ.get(PASSWORD_VARIABLE, "")
        if len(password) < LEAST:
            raise ConfigError(
                f"{PASSWORD_VARIABLE} must hold the password of the user {ADMIN!r}, of at least "
                f"{LEAST} characters: this is the first start on this database. Set it with: read "
                f"-rs {PASSWORD_VARIABLE} && export {PASSWORD_VARIABLE}"
            )
        environment[PASSWORD_VARIABLE] = password
    return environment


def _has_admin(url: "URL") -> bool:
    from sqlalchemy import create_engine, inspect, text

    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("users"):
                return False
            query = text("select 1 from users where username = :name")
            return connection.execute(query, {"name": ADMIN}).first() is not None
    finally:
        engine.dispose()


def _address(arguments: argparse.Namespace, *, own: bool = False) -> str:
    """The server's address: as others call it, or as this machine does."""
    host = arguments.host
    if host in ("0.0.0.0", "::"):
        host = ("127.0.0.1" if host == "0.0.0.0" else "::1") if own else socket.gethostname()
    return f"http://[{host}]:{arguments.port}" if ":" in host else f"http://{host}:{arguments.port}"


def _words(arguments: argparse.Namespace, url: "URL", place: str) -> str:
    address = _address(arguments)
    lines = [
        f"Runs are in {mask(str(url))}, artifacts in {mask(place)}.",
        f"MLflow answers at {address}. On every machine that logs to it:",
        f"  export MLFLOW_TRACKING_URI={address}",
    ]
    if not arguments.no_auth:
        lines += [
            "  export MLFLOW_TRACKING_USERNAME=NAME",
            "  read -rs MLFLOW_TRACKING_PASSWORD && export MLFLOW_TRACKING_PASSWORD",
            f"A user is added by {ADMIN!r}, with the same three variables: recsweep user NAME",
        ]
    if not is_loopback(arguments.host):
        lines.append(
            "Nothing is encrypted on the way: let a proxy with TLS stand before it where others "
            "can listen."
            if not arguments.no_auth
            else "It asks for no password: whoever reaches it can read, write and delete."
        )
    return "\n".join(lines)
