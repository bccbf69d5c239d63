"""What does not fit into memory is refused before it is asked for."""

import pytest

from recsweep import memory
from recsweep.errors import ConfigError
from recsweep.memory import available_bytes, check_memory


def test_there_is_some() -> None:
    assert available_bytes() > 0


def test_what_fits_passes() -> None:
    check_memory(10**6, "It", "Lower it.")
    check_memory(memory.SMALL_BYTES + 1, "It", "Lower it.")


def test_what_does_not_fit_is_refused_with_its_size() -> None:
    with pytest.raises(ConfigError, match=r"^It would take about 1,000,000\.0 GB of memory"):
        check_memory(10**15, "It", "Lower it.")


def test_a_container_with_less_than_the_machine_counts(tmp_path, monkeypatch) -> None:
    (tmp_path / "memory.max").write_text("300000000\n")
    (tmp_path / "memory.current").write_text("100000000\n")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    if memory._cgroups():  # of a system that has control groups of the second version
        assert available_bytes() == 200_000_000
