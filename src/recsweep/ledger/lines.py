"""What the ledger says: a line for each published value, with ours and a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsweep.ledger.jobs import CPU_METRIC, Measured
from recsweep.ledger.rows import Protocol, Row, Target
from recsweep.measures import measure
from recsweep.rendering import MISSING, Column, Record, Table

INSIDE, NO_DATA, TOO_LONG, FAILED = "inside", "no data", "too long", "failed"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of the ledger with what became of it.

    Attributes:
        row: The row.
        measured: Its runs, one a seed; none where it was not run.
        missing: The file that is not there, for which it was not run.
    """

    row: Row
    measured: Sequence[Measured] = ()
    missing: str = ""

    @property
    def errors(self) -> list[str]:
        """Why runs of it failed."""
        found = [measured.error for measured in self.measured if measured.error]
        for measured in self.measured:
            lacks = [target.metric for target in self.row.targets if _lacks(measured, target)]
            if lacks and not measured.error:
                found.append(f"the run {measured.run_id} has no {' and no '.join(lacks)} on test")
        return list(dict.fromkeys(found))

    @property
    def minutes(self) -> float | None:
        """CPU minutes that its runs took, without reading the data; None where it has none."""
        if not self.measured or self.errors:
            return None
        return sum(measured.metrics[CPU_METRIC] for measured in self.measured) / 60

    def values(self, target: Target) -> list[float]:
        """Ours, one a seed."""
        if self.errors:
            return []
        return [measured.metrics[f"test/{target.metric}"] for measured in self.measured]

    def ours(self, target: Target) -> float | None:
        """Ours, the mean over the seeds; None where there is none."""
        values = self.values(target)
        return sum(values) / len(values) if values else None

    def verdict(self, target: Target) -> str:
        """Where ours lies: `inside` the band, or `above` or `below` it; with `, known` where it
        lies in a band off the published value, for the reason that the row gives. `no data`, `too
        long` or `failed` where there is none."""
        if self.missing:
            return NO_DATA
        if not self.measured:
            return TOO_LONG
        ours, (low, high) = self.ours(target), target.band
        if ours is None:
            return FAILED
        side = "above" if ours > target.published else "below"
        if low <= ours <= high:
            return INSIDE if self.row.known is None else f"{side}, known"
        return "above" if ours > high else "below"

    @property
    def verdicts(self) -> list[str]:
        """The verdict of each target, one where all have the same."""
        return list(dict.fromkeys(map(self.verdict, self.row.targets)))

    @property
    def is_reused(self) -> bool:
        """Whether a run of it was in the store before."""
        return any(measured.reused for measured in self.measured)

    @property
    def is_run(self) -> bool:
        return bool(self.measured)

    @property
    def holds(self) -> bool:
        """Whether all values lie where they must."""
        return all(verdict == INSIDE or ", known" in verdict for verdict in self.verdicts)


def _lacks(measured: Measured, target: Target) -> bool:
    value = measured.metrics.get(f"test/{target.metric}")
    return value is None or value != value  # nan is not itself


def table(entries: Sequence[Entry]) -> Table:
    """A line for each published value."""
    columns = [
        Column("protocol", "protocol", left=True),
        Column("model", "model", left=True),
        Column("metric", "metric", _title, left=True),
        Column("published", "published", ".4f"),
        Column("ours", "ours", ".4f"),
        Column("difference", "difference", _difference, drops=6),
        Column("band", "band", _band),
        Column("verdict", "verdict", left=True),
        Column("cpu_minutes", "CPU min", ".1f", drops=7),
        Column("source", "source", left=True, wraps=True, drops=9),
    ]
    records = [_record(entry, target) for entry in entries for target in entry.row.targets]
    off = [place for place, record in enumerate(records) if not _stands(record["verdict"])]
    return Table(columns, records, styles=dict.fromkeys(off, "bold"))


def _record(entry: Entry, target: Target) -> Record:
    row, ours = entry.row, entry.ours(target)
    return {
        "protocol": row.protocol,
        "model": row.name,
        "metric": target.metric,
        "published": target.published,
        "ours": ours,
        "difference": None if ours is None else ours - target.published,
        "band": list(target.band),
        "verdict": entry.verdict(target),
        "cpu_minutes": entry.minutes,
        "source": row.source,
        "seeds": list(row.seeds),
        "values": entry.values(target),
        "runs": [measured.run_id for measured in entry.measured],
        "reused": entry.is_reused,
    }


def _stands(verdict: str) -> bool:
    return verdict in (INSIDE, NO_DATA, TOO_LONG) or ", known" in verdict


def _title(record: Record) -> str:
    return measure(record["metric"]).title


def _difference(record: Record) -> str:
    """In the digits that are shown: their own, so that nothing is -0.0000."""
    difference = record["difference"]
    return MISSING if difference is None else f"{round(difference, 4) + 0:+.4f}"


def _band(record: Record) -> str:
    low, high = record["band"]
    return f"{low:.4f} .. {high:.4f}"


def listing(rows: Sequence[Row], data: Mapping[str, str]) -> Table:
    """Rows as they stand, without being run.

    Args:
        data: Name of a protocol to whether its files are there, in words; none of them leaves that
            out.
    """
    columns = [
        Column("protocol", "protocol", left=True),
        Column("model", "model", left=True),
        Column("metric", "metric", _title, left=True),
        Column("published", "published", ".4f"),
        Column("band", "band", _band),
        Column("minutes", "CPU min", ".1f", drops=7),
        *([Column("data", "data", left=True, wraps=True, drops=1)] if data else []),
        Column("source", "source", left=True, wraps=True, drops=9),
        Column("watched", "runs by name alone, as", left=True, wraps=True, drops=8),
    ]
    records = [
        {
            "protocol": row.protocol,
            "model": row.name,
            "metric": target.metric,
            "published": target.published,
            "band": list(target.band),
            "minutes": row.minutes,
            **({"data": data[row.protocol]} if data else {}),
            "source": row.source,
            **({"watched": row.watched} if row.watched else {}),
        }
        for row in rows
        for target in row.targets
    ]
    return Table(columns, records)


def remarks(entries: Sequence[Entry], protocols: Sequence[Protocol]) -> list[str]:
    """What the table has no room for, in sentences."""
    lines = [
        f"{entry.row.id} is known to differ: {entry.row.known}"
        for entry in entries
        if entry.row.known and entry.is_run
    ]
    lines += [f"{entry.row.id} failed: {error}" for entry in entries for error in entry.errors]
    origins = {protocol.name: protocol.origin for protocol in protocols}
    missing = {entry.row.protocol: entry.missing for entry in entries if entry.missing}
    lines += [
        f"{protocol} has no data: there is no {file}. {origins[protocol]}"
        for protocol, file in missing.items()
    ]
    too_long = [entry.row for entry in entries if TOO_LONG in entry.verdicts]
    if too_long:
        names = ", ".join(f"{row.id} ({row.minutes:g} minutes)" for row in too_long)
        lines.append(f"Too long, but for --within with more minutes: {names}.")
    return lines


def summary(entries: Sequence[Entry]) -> str:
    """How many rows hold, in one sentence."""
    run = [entry for entry in entries if entry.is_run]
    held = sum(entry.holds for entry in run)
    left = f"; {len(entries) - len(run)} were not run" if len(run) < len(entries) else ""
    return f"{held} of {len(run)} rows that were run lie where they must{left}."


def outside(entries: Sequence[Entry]) -> list[str]:
    """The rows that were run and do not hold, each with its verdicts."""
    return [
        f"{entry.row.id} ({' and '.join(entry.verdicts)})"
        for entry in entries
        if entry.is_run and not entry.holds
    ]


def in_words(entry: Entry) -> str:
    """What became of a row, in a line."""
    if entry.errors:
        return f"{entry.row.id}: {FAILED}: {'; '.join(entry.errors)}"
    values = [
        f"{measure(target.metric).title} {entry.ours(target):.4f}, published "
        f"{target.published:.4f}, {entry.verdict(target)}"
        for target in entry.row.targets
    ]
    stored = ", in the store before" if entry.is_reused else ""
    return f"{entry.row.id}: {'; '.join(values)} ({entry.minutes:.1f} CPU minutes{stored})"
