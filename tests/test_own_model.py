"""docs/own-model.md, followed by a stranger: its files and its commands, word for word."""

import pytest

from tests.walked import blocks, on_tiny_data, run

PAGE = "own-model.md"


@pytest.mark.slow
def test_the_page_word_for_word(tmp_path):
    (code,), (settings,) = blocks(PAGE, "python"), blocks(PAGE, "yaml")
    (tmp_path / "mine.py").write_text(code)
    (tmp_path / "my_conf" / "model").mkdir(parents=True)
    (tmp_path / "my_conf" / "model" / "cosine.yaml").write_text(settings)
    done = run(on_tiny_data("".join(blocks(PAGE, "sh"))), tmp_path)
    assert done.returncode == 0, done.stderr
    for words in (
        "cosine 0: epoch 1 of 1",
        "study mine: 3 finished",
        "#2 cosine 0.5",
        "user 5, by",
    ):
        assert words in done.stdout
    refused = run("PYTHONPATH=. recsweep recommend --run 'cosine 0' --user 5", tmp_path)
    assert refused.returncode == 1
    assert "set RECSWEEP_ALLOW_TARGETS=mine.Cosine" in refused.stderr
    lost = run("recsweep train -cd my_conf model=cosine", tmp_path)
    assert "a module that is not found. Name its folder in PYTHONPATH" in lost.stderr
