"""`recsweep worker`: join a study that another machine's command has made."""

import argparse
import shlex

from recsweep.cli.output import hint
from recsweep.cli.store import next_line


def add_to(commands: argparse._SubParsersAction) -> None:
    worker = commands.add_parser(
        "worker",
        help="join a study that another machine's command has made",
        description="Work on a study until nothing of it is open. All it needs is the database of "
        "studies and where runs are logged, which MLFLOW_TRACKING_URI names: what the study is, "
        "its first command has stored. The data have to lie at the same path, or at data.path=... "
        "It may join and leave at any time.",
    )
    worker.add_argument("study", help="its name, as its command prints it")
    worker.add_argument(
        "overrides",
        nargs="*",
        metavar="name=value",
        help="what is otherwise on this machine, as data.path=/data/likes.csv",
    )
    worker.add_argument(
        "--storage",
        help="database of studies (default: $RECSWEEP_STUDIES, where a password is safe, else "
        "optuna.db in the store)",
    )
    worker.add_argument(
        "--jobs", type=int, metavar="N", help="trials at once (default: as the study's sampler)"
    )
    worker.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    import os

    from recsweep.tuning.conduct import conduct
    from recsweep.tuning.joining import join
    from recsweep.tuning.storage import STUDIES

    if arguments.storage is not None:
        os.environ[STUDIES] = arguments.storage
    record = conduct(*join(arguments.study, tuple(arguments.overrides), arguments.jobs))
    hint(next_line(f"runs --study {shlex.quote(record.name)}"))
