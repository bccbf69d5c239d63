"""`kill -9` and SIGHUP at any moment: nothing lost, nothing twice, nothing left RUNNING."""

import pytest

from tests.faults.conftest import TINY, kill

pytestmark = pytest.mark.slow


def test_a_home_is_usable_after_a_kill(new_home):
    home = new_home()
    kill(home.start("train", *TINY, "model=popularity"))
    done = home.run("train", *TINY, "model=popularity")
    assert done.returncode == 0, done.stderr
    assert list(home.statuses().values()) == ["FINISHED"]
