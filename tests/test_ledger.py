"""The ledger: its rows' rules and settings, and the command on a protocol of toy files."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from recsweep.config import composed
from recsweep.errors import ConfigError
from recsweep.ledger import conduct, jobs
from recsweep.ledger.lines import Entry
from recsweep.ledger.rows import WIDE, WIDEST, Row, Target, protocols
from recsweep.measures import measure
from recsweep.run.plan import plan
from recsweep.tracking import TrackingOptions, tracker

PROTOCOLS = protocols()
ROWS = [(protocol, row) for protocol in PROTOCOLS for row in protocol.rows]
IDS = [row.id for _, row in ROWS]


def row_with(**changes) -> Row:
    target = Target(metric="ndcg_at_10", published=0.5, band=(0.49, 0.51))
    given = {
        "protocol": "toy",
        "name": "ease",
        "overrides": ("model=ease",),
        "targets": (target,),
        "minutes": 1,
        "source": "a paper",
    }
    return Row(**given | changes)


def band(low: float, high: float) -> tuple[Target, ...]:
    return (Target(metric="ndcg_at_10", published=0.5, band=(low, high)),)


# --- the rules of rows ---


def test_the_rules_let_a_row_pass_that_keeps_them():
    assert row_with().id == "toy/ease"
    assert row_with(targets=band(0.48, 0.52), wide="one split").targets[0].width == 0.04


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"source": ""}, "source of the row toy/ease must be a text that is not empty"),
        ({"targets": band(0.47, 0.53), "wide": "one split"}, "must be at most 0.05 wide, not 0.06"),
        ({"targets": band(0.485, 0.51)}, "is 0.025 wide, more than 0.02. Say why"),
        ({"targets": band(0.49, 0.51), "known": "their counter"}, "holds the published 0.5"),
        ({"minutes": 0}, "minutes of the row toy/ease must be a number above 0"),
    ],
)
def test_a_row_that_breaks_a_rule_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        row_with(**changes)


def test_a_band_has_two_ends_in_order():
    with pytest.raises(ConfigError, match=r"must be \[low, high\]"):
        Target(metric="ndcg_at_10", published=0.5, band=(0.5, 0.4))


@pytest.mark.parametrize(("protocol", "row"), ROWS, ids=IDS)
def test_a_row_composes(protocol, row):
    """Its source, bands and settings, down to the objects that they make."""
    paths = {setting: Path("/data") / file for setting, file in protocol.files.items()}
    assert plan(composed(protocol.settings(row, row.seeds[0], paths))).evaluation.test
    for target in row.targets:
        assert measure(target.metric).name == target.metric
        assert target.width <= (WIDEST if row.wide else WIDE)
        assert row.known or target.band[0] <= target.published <= target.band[1]


def test_names_are_unique():
    assert len(set(IDS)) == len(IDS)


# --- verdicts ---


@pytest.mark.parametrize(
    ("ours", "known", "verdict"),
    [
        (0.495, None, "inside"),
        (0.52, None, "above"),
        (0.48, None, "below"),
        (0.56, "theirs is wrong", "above, known"),
        (0.53, "theirs is wrong", "below"),
        (None, None, "failed"),
        (float("nan"), None, "failed"),
    ],
)
def test_a_verdict_is_where_ours_lies(ours, known, verdict):
    row = row_with(targets=band(0.55, 0.57) if known else band(0.49, 0.51), known=known)
    job = jobs.Job(row=row, seed=0, overrides=(), files={})
    metrics = {} if ours is None else {"test/ndcg_at_10": ours, jobs.CPU_METRIC: 1.0}
    entry = Entry(row=row, measured=[jobs.Measured(job=job, metrics=metrics)])
    assert entry.verdicts == [verdict]
    assert entry.holds is (verdict == "inside" or "known" in verdict)


def test_several_seeds_are_judged_by_their_mean():
    row = row_with(seeds=(0, 1))
    measured = [
        jobs.Measured(
            job=jobs.Job(row=row, seed=seed, overrides=(), files={}),
            metrics={"test/ndcg_at_10": value, jobs.CPU_METRIC: 30.0},
        )
        for seed, value in enumerate((0.46, 0.54))
    ]
    entry = Entry(row=row, measured=measured)
    assert entry.ours(row.targets[0]) == pytest.approx(0.5)
    assert (entry.verdicts, entry.minutes) == (["inside"], 1.0)


def test_long_jobs_stand_alone_and_first():
    def job(name: str, minutes: float, protocol: str = "toy") -> jobs.Job:
        row = row_with(name=name, minutes=minutes, protocol=protocol)
        return jobs.Job(row=row, seed=0, overrides=(), files={})

    given = [job("a", 0.5), job("b", 7), job("c", 1), job("d", 3, "other"), job("e", 0.1, "other")]
    pieces = [[each.row.name for each in piece] for piece in jobs._pieces(given)]
    assert pieces == [["b"], ["d"], ["a", "c"], ["e"]]


# --- the command ---


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of data: 40 users who like every third item or so."""
    folder = tmp_path / "data" / "ledger" / "toy"
    folder.mkdir(parents=True)
    lines = [
        f"{user},{item}" for user in range(40) for item in range(30) if (user * item) % 7 % 3 == 1
    ]
    (folder / "likes.csv").write_text("\n".join(["user,item", *lines, ""]))
    return tmp_path / "data"


@pytest.fixture
def protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """protocol(name, **rows): a protocol on the toy data, with what is changed of each row."""
    folder = tmp_path / "protocols"
    folder.mkdir()
    monkeypatch.setattr(conduct, "protocols", lambda: protocols(folder))

    def protocol(name: str = "toy", file: str = "toy/likes.csv", **rows: dict) -> None:
        content = {
            "about": "A toy.",
            "origin": "A test writes it.",
            "files": {"data.path": file},
            "overrides": ["data=file", "split=per_user_ratio", "split.test=0.2"],
            "rows": {
                key: {
                    "overrides": [f"model={key}"],
                    "metrics": {"ndcg_at_10": [0.5, 0.49, 0.51]},
                    "minutes": 0.1,
                    "source": "a paper",
                }
                | changes
                for key, changes in rows.items()
            },
        }
        (folder / f"{name}.yaml").write_text(json.dumps(content))

    return protocol


@pytest.fixture
def ledger(store, data, monkeypatch, capsys):
    """ledger(line): status, stdout and stderr of `recsweep ledger LINE` on the toy data."""
    from recsweep.cli import main

    def ledger(line: str = "", *, folder: Path | None = data) -> tuple[int, str, str]:
        given = [] if folder is None else ["--data", str(folder)]
        monkeypatch.delenv("RECSWEEP_DATA", raising=False)
        monkeypatch.setattr(sys, "argv", ["recsweep", "ledger", *shlex.split(line), *given])
        try:
            main()
            status = 0
        except SystemExit as ended:
            status = ended.code
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return ledger


def values(output: str) -> dict[str, dict]:
    """The rows of the command's JSON by their model."""
    return {row["model"]: row for row in json.loads(output)["rows"]}


@pytest.fixture
def ndcg(ledger, protocol) -> float:
    """NDCG@10 of popularity on the toy data, read off a row that is far off."""
    protocol("probe", popularity={"metrics": {"ndcg_at_10": [0.99, 0.98, 0.995]}})
    status, out, err = ledger("--protocol probe --format json")
    assert (status, values(out)["popularity"]["verdict"]) == (1, "below")
    assert "error: Outside of their bands, or failed: probe/popularity (below)." in err
    return values(out)["popularity"]["ours"]


def around(value: float, off: float = 0.0) -> dict:
    return {"metrics": {"ndcg_at_10": [value + off, value + off - 0.01, value + off + 0.01]}}


def test_each_row_gets_its_verdict(ledger, protocol, ndcg, store):
    known = {
        "metrics": {"ndcg_at_10": [ndcg - 0.1, ndcg - 0.005, ndcg + 0.005]},
        "known": "They count wrongly.",
        "overrides": ["model=popularity"],
    }
    long = around(ndcg) | {"minutes": 11}
    protocol(popularity=around(ndcg), off=known, knn=long)
    protocol("away", file="away/likes.csv", popularity={})
    status, out, err = ledger("--protocol toy --format json")
    found = {model: row["verdict"] for model, row in values(out).items()}
    assert found == {"popularity": "inside", "off": "above, known", "knn": "too long"}
    assert (status, values(out)["popularity"]["difference"]) == (0, 0)
    assert "2 of 2 rows that were run lie where they must; 1 were not run." in err
    assert "toy/off is known to differ: They count wrongly." in err

    (run,) = tracker(TrackingOptions(uri=None, experiment="ledger")).search(
        "tags.ledger_row = 'toy/off'"
    )
    assert run.tags["verdict"] == "above, known"
    assert run.tags["published"] == f"ndcg_at_10 {ndcg - 0.1:g}"
    assert (run.status, run.metrics["test/ndcg_at_10"]) == ("FINISHED", ndcg)


def test_what_is_there_is_not_run_again(ledger, protocol, data):
    protocol(popularity={})

    def run(line: str = "") -> dict:
        folder = data / "moved" if (data / "moved").is_dir() else data
        return values(ledger(f"--format json {line}", folder=folder)[1])["popularity"]

    first = run()
    (data / "ledger").rename(data / "moved")
    assert not first["reused"]
    assert run() == first | {"reused": True}
    again = run("--again")
    assert not again["reused"]
    assert (again["runs"] == first["runs"], again["ours"]) == (False, first["ours"])
    with (data / "moved" / "toy" / "likes.csv").open("a") as file:
        file.write("1,2\n")
    assert not run()["reused"]


def test_after_an_interrupt_the_same_command_goes_on(ledger, protocol, monkeypatch):
    protocol(popularity={}, ease={})
    measure_job = jobs.measure

    def interrupted(job: jobs.Job, circumstances: jobs.Circumstances) -> jobs.Measured:
        if job.row.name == "ease":
            raise KeyboardInterrupt
        return measure_job(job, circumstances)

    monkeypatch.setattr(jobs, "measure", interrupted)
    status, _, err = ledger()
    assert status == 130
    assert "What is done is kept: the same command goes on from there." in err
    monkeypatch.setattr(jobs, "measure", measure_job)
    found = values(ledger("--format json")[1])
    assert [found[model]["reused"] for model in ("popularity", "ease")] == [True, False]
    store = tracker(TrackingOptions(uri=None, experiment="ledger"))
    assert [run.status for run in store.search("tags.ledger LIKE '%'")] == ["FINISHED", "KILLED"]


def test_a_row_that_fails_ends_no_other(ledger, protocol, ndcg):
    broken = {"overrides": ["model=ease", "model.l2=-1"]}
    absent = {"metrics": {"roc_auc": [0.5, 0.49, 0.51]}, "overrides": ["model=popularity"]}
    protocol(broken=broken, absent=absent, popularity=around(ndcg))
    status, out, err = ledger("--protocol toy --format json")
    found = {model: row["verdict"] for model, row in values(out).items()}
    assert found == {"broken": "failed", "absent": "failed", "popularity": "inside"}
    assert status == 1
    assert "toy/broken failed: model.l2 must be a number above 0, not -1" in err
    assert "has no roc_auc on test" in err


def test_without_data_nothing_passes(ledger, protocol, data):
    protocol(file="away/likes.csv", popularity={})
    status, out, err = ledger()
    assert (status, "no data" in out) == (1, True)
    assert "toy has no data: there is no away/likes.csv. A test writes it." in out
    assert "error: No row was run, so nothing is shown to hold." in err
    assert "no folder of data is named" in ledger(folder=None)[2]
    assert "There is no folder" in ledger(folder=data / "nowhere")[2]


@pytest.mark.slow
def test_of_two_workers_a_killed_one_costs_its_row_alone(ledger, protocol, ndcg):
    dying = {"overrides": ["model=popularity", "model._target_=tests.toy_models.Dying"]}
    protocol(popularity=around(ndcg), dying=dying, ease={"seeds": [0, 1]})
    protocol("other", knn={"minutes": 9})
    status, out, err = ledger("--workers 2 --again --format json")
    found = values(out)
    assert status == 1
    assert (found["popularity"]["verdict"], found["dying"]["verdict"]) == ("inside", "failed")
    assert "toy/dying failed: its process ended with status -9" in err
    alone = values(ledger("--workers 1 --format json toy/ease knn")[1])
    for model in ("ease", "knn"):
        assert alone[model]["reused"]
        assert alone[model]["values"] == found[model]["values"]


def test_names_choose_rows(ledger, protocol):
    protocol(popularity={}, ease={"watched": "slow"}, knn={"minutes": 30})
    protocol("other", popularity={})

    def listed(line: str) -> list[str]:
        rows = json.loads(ledger(f"--list --format json {line}")[1])["rows"]
        return [f"{row['protocol']}/{row['model']}" for row in rows]

    assert listed("") == ["other/popularity", "toy/popularity", "toy/knn"]
    assert listed("--watched --protocol toy") == ["toy/popularity", "toy/ease", "toy/knn"]
    assert listed("popularity") == ["other/popularity", "toy/popularity"]
    assert listed("toy/ease") == ["toy/ease"]
    assert "There is no row 'populrity'. Did you mean popularity?" in ledger("populrity")[2]
    assert "There is no protocol 'toys'. Did you mean toy?" in ledger("--protocol toys")[2]
    assert "--workers must be a whole number" in ledger("--workers 0")[2]
    assert "--within must be a number above 0" in ledger("--within 0")[2]


def test_the_page_says_how_it_came_to_be(ledger, protocol, ndcg, tmp_path, store):
    protocol(popularity=around(ndcg, 0.02), ease=around(ndcg) | {"watched": "slow"})
    page = tmp_path / "ledger.md"
    assert ledger(f"toy/popularity --out {page}")[0] == 1
    text = page.read_text()
    assert "by `recsweep ledger toy/popularity --data DIR` in" in text
    assert str(tmp_path) not in text
    assert f"| **toy** | **popularity** | **NDCG@10** | **{ndcg + 0.02:.4f}** |" in text
    assert "- `data.path` toy/likes.csv (sha256 " in text
    assert "| toy | ease | NDCG@10 |" in text
    assert "## Looked at and refused" in text
    experiment = tracker(TrackingOptions(uri=None, experiment="ledger"))
    parent = experiment.search("tags.ledger LIKE '%'")[0]
    with experiment.artifact(parent, "ledger.md") as logged:
        assert logged.read_text() == text
    assert "can't be written to" in ledger("--out /nowhere/ledger.md")[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "rows",
    [
        "ncf_ml1m/popularity ncf_ml1m/item_knn_dice ncf_ml1m/rp3beta ncf_ml1m/ease",
        "citeulike_a/item_knn_tfidf",
    ],
)
def test_rows_lie_inside_their_bands(ledger, real_data, rows):
    """Some of those that take less than a minute: `make ledger` runs all of them."""
    used = [protocol for protocol in PROTOCOLS if f"{protocol.name}/" in rows]
    if any(protocol.presence(real_data) != "there" for protocol in used):
        pytest.skip(f"no data of the ledger in {real_data}: `recsweep ledger --list` says which")
    status, out, err = ledger(f"{rows} --format json", folder=real_data)
    assert {row["verdict"] for row in json.loads(out)["rows"]} == {"inside"}, err
    assert status == 0
