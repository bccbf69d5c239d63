"""docs/own-loss.md, followed by a stranger: its files and its commands, word for word."""

import pytest

from tests.walked import blocks, on_tiny_data, run

PAGE = "own-loss.md"


@pytest.mark.slow
def test_the_page_word_for_word(tmp_path):
    (code,), (settings,) = blocks(PAGE, "python"), blocks(PAGE, "yaml")
    (tmp_path / "my_losses.py").write_text(code)
    (tmp_path / "my_conf" / "loss").mkdir(parents=True)
    (tmp_path / "my_conf" / "loss" / "focal.yaml").write_text(settings)
    script = on_tiny_data("".join(blocks(PAGE, "sh")), "trainer.max_epochs=2")
    done = run(script, tmp_path)
    assert done.returncode == 0, done.stderr
    for words in (
        "recipe_net 15/25/128 focal adam: epoch",
        "study losses: 3 finished",
        "#0 recipe_net 15/25/128 focal adam",
        "refit of losses: test",
    ):
        assert words in done.stdout
    wrong = run(
        "PYTHONPATH=. recsweep train -cd my_conf model=recipe_net loss=focal loss.gamma=-1",
        tmp_path,
    )
    assert "loss.gamma must be a number at least 0, not -1." in wrong.stderr
    refused = run("PYTHONPATH=. recsweep refit losses --best-of loss", tmp_path)
    assert "set RECSWEEP_ALLOW_TARGETS=my_losses.Focal" in refused.stderr
