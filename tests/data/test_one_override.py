"""`python train.py data.path=FILE` trains on the file, and says and keeps what was found in it and
left out of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.faults.bad_inputs import Answer, answer_here

from recsweep import cli

ROWS = [
    (user, item, 1 + (user * 5 + item * 3) % 5, 1_500_000_000 + user * 1000 + item)
    for user in range(1, 41)
    for item in range(1, 31)
    if (user * 7 + item * 11) % 3
]


def lines(separator: str) -> str:
    return "".join(separator.join(map(str, row)) + "\n" for row in ROWS)


@pytest.fixture
def trained(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """trained(*overrides): how a training of the popularity model ends, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return lambda *overrides: answer_here(["train", "model=popularity", *overrides], cli.main)


def profile(store: Path) -> dict[str, Any]:
    """What the newest run keeps of its data."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{store}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    run = client.search_runs(experiments, order_by=["attributes.start_time DESC"])[0]
    notes = [json.loads(each.dataset.profile) for each in run.inputs.dataset_inputs]
    return next(note for note in notes if "dropped" in note)


def test_the_path_is_enough(trained: Callable[..., Answer], store: Path, tmp_path: Path) -> None:
    (tmp_path / "plays.dat").write_text(lines("\t"))
    answer = trained("data.path=plays.dat")
    assert answer.status == 0, answer.errors
    assert "tab" in answer.errors + answer.said
    kept = profile(store)
    assert "tab" in kept["found"]
    liked = sum(row[2] >= 4 for row in ROWS)
    assert kept["dropped"] == {"rated below 4": len(ROWS) - liked}


def test_rows_that_were_left_out_are_counted(
    trained: Callable[..., Answer], store: Path, tmp_path: Path
) -> None:
    text = "user_id,item_id,rating,time\n" + lines(",") + "1,2\n3,4,good,5\n"
    (tmp_path / "bad.csv").write_text(text)
    answer = trained("data.path=bad.csv")
    assert answer.status != 0
    errors = [line for line in answer.errors.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "data.on_bad_rows=skip" in errors[0]
    answer = trained("data.path=bad.csv", "data.on_bad_rows=skip")
    assert answer.status == 0, answer.errors
    kept = profile(store)["dropped"]
    assert sum(kept.values()) == 2 + sum(row[2] < 4 for row in ROWS)
    for reason in kept:
        assert f"rows {reason}" in answer.errors + answer.said


def test_a_question_is_answered_by_the_command_it_shows(
    trained: Callable[..., Answer], tmp_path: Path
) -> None:
    text = "who,what,liked\n" + "".join(
        f"{u},{i},{'yes' if r > 3 else 'no'}\n" for u, i, r, _ in ROWS
    )
    (tmp_path / "words.csv").write_text(text)
    answer = trained("data.path=words.csv")
    assert answer.status != 0
    assert "Traceback" not in answer.errors
    assert "data.user_column=who" in answer.errors or "data.positive_values=" in answer.errors
    answer = trained(
        "data.path=words.csv", "data.user_column=who", "data.item_column=what",
        "data.rating_column=liked", "data.positive_values=[yes]",
    )  # fmt: skip
    assert answer.status == 0, answer.errors


def test_a_given_split(trained: Callable[..., Answer], tmp_path: Path) -> None:
    for name, rows in (("train", ROWS[::2]), ("test", ROWS[1::2])):
        text = "user,item\n" + "".join(f"{row[0]},{row[1]}\n" for row in rows)
        (tmp_path / f"{name}.csv").write_text(text)
    answer = trained("data.path=train.csv", "data.test_path=test.csv", "split=given")
    assert answer.status == 0, answer.errors
