"""`recsweep promote`, `rollback` and `champion`."""

import logging
import subprocess
import sys

import pytest

from recsweep import cli
from recsweep.cli.promote import REFUSED_STATUS, guards
from tests.promotion.conftest import GOOD, WEAK, run_named


class TestCommands:
    @pytest.fixture(autouse=True)
    def _own_handlers(self, monkeypatch):
        monkeypatch.setattr(logging.root, "handlers", [])

    @pytest.fixture
    def said(self, monkeypatch, capsys):
        """said(*arguments): the exit status and what a command prints."""

        def said(*arguments: str) -> tuple[int, str, str]:
            monkeypatch.setattr(sys, "argv", ["recsweep", *arguments])
            try:
                cli.main()
                status = 0
            except SystemExit as stopped:
                status = stopped.code
            return status, *capsys.readouterr()

        return said

    def test_from_promotion_to_rollback(self, said, opened):
        status, shown, _ = said("promote", WEAK)
        assert status == REFUSED_STATUS
        assert "baseline knn user 50" in shown
        assert f"{WEAK} does not become champion of recsweep" in shown
        assert said("promote", WEAK, "--force", "--reason", "to begin with")[0] == 0
        status, shown, _ = said(
            "promote", GOOD, "--guard", "coverage=none", "--guard", "latency=none"
        )
        *_, words, further = shown.splitlines()
        assert (status, words) == (
            0,
            f"{GOOD} is the champion now, as version 2 of recsweep; version 1 was champion.",
        )
        assert further.endswith("recsweep recommend --user ID -k 10")
        status, shown, _ = said("champion")
        assert status == 0
        run = run_named(GOOD)
        for part in (
            f"recsweep version 2: {GOOD}",
            run.id,
            run.tags["data_digest"],
            "model.C=1.0",
            "promoted by",
            "f1_at_threshold",
            "version 1 (run",
            "version 1 -> 2",
            "models:/recsweep@champion",
        ):
            assert part in shown
        words, further = said("rollback", "--reason", "a try")[1].splitlines()
        assert words == "Version 1 of recsweep is the champion again, after version 2."
        assert further.startswith("Next: ")
        status, _, error = said("rollback")
        assert (status, error.splitlines()[-1]) == (
            1,
            "error: Version 1 is the first champion of 'recsweep': there is none before it to "
            "return to.",
        )

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["promote"], "Say what to promote"),
            (
                ["promote", "x", "--guard", "coverage"],
                "--guard must be NAME=MARGIN with a number or none",
            ),
            (
                ["promote", "x", "--guard", "latency=0.2"],
                "--guard latency must be a number at least 1, not 0.2",
            ),
            (["promote", "x", "--force"], "say why, with --reason"),
            (["promote", "x", "--name", "a/b"], "The name of a registered model must begin"),
            (["champion"], "'recsweep' has no champion yet"),
            (["champion", "--name", "other"], "'other' has no champion yet"),
        ],
    )
    def test_a_mistake_is_one_line(self, arguments, message, said, opened):
        status, shown, error = said(*arguments)
        assert (status, shown) == (1, "")
        assert error.startswith("error: ")
        assert message in error

    def test_guards(self):
        assert guards(["coverage=0.2", "latency=none"]) == {"coverage": 0.2, "latency": None}

    def test_champion_is_light(self, promoting, opened, tmp_path):
        promoting(GOOD)
        script = (
            "import sys; sys.argv = ['recsweep', 'champion']; from recsweep.cli import main; "
            "main(); print([name for name in ('torch', 'pytorch_lightning', 'hydra') if name in "
            "sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, cwd=tmp_path
        )
        assert done.stdout.splitlines()[-1] == "[]", done.stderr
