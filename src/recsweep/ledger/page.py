"""The ledger as a page in Markdown, docs/ledger.md."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from recsweep.ledger.lines import Entry, listing, remarks, summary, table
from recsweep.ledger.rows import Protocol, Row
from recsweep.tracking import environment

PAGE_FILE = "ledger.md"

REFUSED = Path(__file__).parent / "refused.md"
"""Published tables that are no rows, and why."""

ABOUT = """Published results beside what this code gives under the same protocol. Each row is a run
like any other, in the MLflow experiment `ledger`. The band is where ours must lie; it was set from
the sources before ours was known. A value off the published one for a known reason has its band
around what is right. CPU minutes are of one core, without reading the data. Several seeds are
several splits, of which the mean is compared."""


def page(
    entries: Sequence[Entry],
    protocols: Sequence[Protocol],
    command: str,
    digests: Mapping[str, Mapping[str, str]],
    seconds: float,
) -> str:
    """The page.

    Args:
        command: The command that printed it.
        digests: Name of each protocol that was run to the sha256 of its files, by setting.
        seconds: Wall time that the command took.
    """
    spent = sum(entry.minutes or 0 for entry in entries)
    reused = sum(entry.is_reused for entry in entries)
    stored = f" ({reused} rows were in the store before)" if reused else ""
    parts = [
        "# The reference ledger",
        ABOUT,
        f"Printed on {time.strftime('%Y-%m-%d')} by `{command}` in {seconds / 60:.1f} minutes of "
        f"wall time, {spent:.1f} CPU minutes{stored}; {_versions()}.",
        f"**{summary(entries)}**",
        table(entries).markdown(),
        _listed(remarks(entries, protocols)),
        "## Protocols",
        *(_section(protocol, digests.get(protocol.name, {})) for protocol in protocols),
        "## Watched rows",
        "They run by name alone, or with `--watched`.",
        listing(
            [row for protocol in protocols for row in protocol.rows if row.watched], {}
        ).markdown(),
        REFUSED.read_text(encoding="utf-8").strip(),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _versions() -> str:
    found = environment()
    versions = {"Python": found["python"], **found["packages"]}
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def _section(protocol: Protocol, digests: Mapping[str, str]) -> str:
    files = [
        f"`{setting}` {file}" + (f" (sha256 {digests[setting]})" if setting in digests else "")
        for setting, file in protocol.files.items()
    ]
    return "\n\n".join(
        [
            f"### {protocol.name}",
            protocol.about,
            f"Settings: `{' '.join(protocol.overrides)}`. {protocol.origin}",
            _listed(files),
            _listed([_settings(row) for row in protocol.rows]),
        ]
    )


def _settings(row: Row) -> str:
    seeds = f", seeds {', '.join(map(str, row.seeds))}" if len(row.seeds) > 1 else ""
    wide = f". Its band: {row.wide}" if row.wide else ""
    return f"{row.name}: `{' '.join(row.overrides)}`{seeds}{wide}"


def _listed(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
