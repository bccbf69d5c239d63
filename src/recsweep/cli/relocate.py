"""`recsweep relocate`: let the artifacts follow a store that was moved or copied."""

import argparse
import shlex

from recsweep.cli.output import hint
from recsweep.cli.store import add_store_options, next_here, store_options
from recsweep.terminal import tell


def add_to(commands: argparse._SubParsersAction) -> None:
    relocate = commands.add_parser(
        "relocate",
        help="after a store was moved, copied or restored elsewhere: let its artifacts follow it",
        description="Change the places of artifacts that a store in a sqlite file names, from "
        "where it was before to where it lies now. No file is copied or moved, and what lies at "
        "the old place is left alone. A second time it changes nothing.",
    )
    add_store_options(relocate)
    relocate.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from recsweep.tracking import existing_store

    store = existing_store(store_options(arguments))
    relocated = store.relocate()
    if not relocated.former:
        tell(f"The artifacts of {store.uri} lie beside it: nothing to change.")
        return
    tell(
        f"{relocated.changed:,} places of artifacts of {store.uri} are in {relocated.folder} now, "
        f"no more in {' and '.join(relocated.former)}."
    )
    for folder in relocated.missing:
        copied = shlex.join(["cp", "-an", f"{folder}/.", f"{relocated.folder}/"])
        tell(f"Some of the files were not brought along. Copy them with: {copied}")
    hint(next_here("runs", arguments))
