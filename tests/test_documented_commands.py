"""The commands that README and docs name: each is one that recsweep takes, and README's own are
run, in their order, in an empty folder with files of somebody's own."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas
import pytest

from recsweep import cli
from recsweep.cli.arguments import parted
from recsweep.config import experiments_dir, multirun, plain
from recsweep.mistakes import refuse_unused
from recsweep.tuning.arguments import as_meant
from recsweep.tuning.compose import Composer
from recsweep.tuning.options import StudyOptions
from recsweep.tuning.space import parse_space
from tests.walked import run

REPOSITORY = Path(__file__).parents[1]
README = REPOSITORY / "README.md"
PAGES = [
    README,
    *sorted((REPOSITORY / "docs").rglob("*.md")),
    *(REPOSITORY / folder / "README.md" for folder in ("experiments", "benchmarks")),
    REPOSITORY / "CONTRIBUTING.md",
]
FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```", flags=re.DOTALL | re.MULTILINE)
TINY = "data.num_users=60 data.num_items=50 data.density=0.15"
NOT_RUN = {
    "python -m venv": "the tests have an environment, and nothing to install from",
    "pip install": "the same; tests/test_wheel.py installs",
    "python train.py data=movielens_100k": "downloads",
    "python train.py data=foodcom": "a block of 1,000 users; tests/accuracy",
    "recsweep server": "tests/test_team_server.py",
    "recsweep user": "tests/test_team_server.py",
    "export MLFLOW_TRACKING_URI": "the same server",
    "recsweep recommend --features": "needs features of users; tests/test_recommend.py",
    "recsweep ui": "stays up; tests/browser",
    "recsweep serve": "stays up; tests/test_http.py",
    "export RECSWEEP_TOKEN": "for that server",
    "recsweep ledger": "needs published data; tests/test_ledger.py",
}
"""Commands of the README by how they begin, and why they are not run here."""
INLINE = re.compile(r"`((?:recsweep|python|make) [^`]+)`")
SHELL = ("", "sh", "bash", "console")


class Command(NamedTuple):
    """A command of a page, in the words that a shell makes of it."""

    page: Path
    words: tuple[str, ...]
    is_inline: bool = False

    def __str__(self) -> str:
        return f"{self.page.relative_to(REPOSITORY)}: {shlex.join(self.words)}"


def _lines(block: str) -> list[str]:
    """The command lines of a block; where it shows a prompt, what follows one."""
    lines = block.replace("\\\n", " ").splitlines()
    prompted = [line.strip()[2:] for line in lines if line.strip().startswith("$ ")]
    return prompted or [line.strip() for line in lines]


def _parts(line: str, variables: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    """What stands between the shell's `|`, `>`, `;` and `&&`, each in words."""
    expanded = re.sub(r"\$(\w+)", lambda found: variables.get(found[1], found[0]), line)
    expanded = re.sub(r"\$\([^)]*\)", "printed", expanded)
    shell = shlex.shlex(expanded, posix=True, punctuation_chars="|>;&")
    shell.whitespace_split = True
    part: list[str] = []
    for word in shell:
        if set(word) <= set("|>;&"):
            yield tuple(part)
            part = []
        else:
            part.append(word)
    yield tuple(part)


def _commands(page: Path) -> Iterator[Command]:
    text = page.read_text(encoding="utf-8")
    variables: dict[str, str] = {}
    for language, block in FENCE.findall(text):
        for line in _lines(block) if language in SHELL else ():
            if assigned := re.fullmatch(r"(\w+)=['\"]?([^'\"]*)['\"]?", line):
                variables[assigned[1]] = assigned[2]
            elif re.search(r"(^|[|;&=] *|\S=\S* )(recsweep [a-z]|python |make )", line):
                for words in _parts(line, variables):
                    yield Command(page, words)
    for line in INLINE.findall(FENCE.sub("", text)):
        for words in _parts(" ".join(line.split()), variables):
            yield Command(page, words, is_inline=True)


def _named() -> list[Command]:
    found = {}
    for page in PAGES:
        for command in _commands(page):
            words = command.words
            while words and re.match(r"[A-Z_]+=", words[0]):  # FOO=bar recsweep ...
                words = words[1:]
            is_whole = not any("…" in word for word in words)
            if is_whole and words[:1] in (("recsweep",), ("python",), ("make",)):
                found.setdefault(str(command), command._replace(words=words))
    return list(found.values())


NAMED = _named()


def _training(words: tuple[str, ...]) -> tuple[str, ...] | None:
    """What Hydra gets of a command; None where it is none that trains."""
    if words[:2] in (("python", "train.py"), ("recsweep", "train")):
        return words[2:]
    if words[:2] == ("recsweep", "study") and len(words) > 2:
        return ("-cd", str(experiments_dir()), "-cn", *words[2:])
    return None


def _options(flags: list[str], *names: str) -> str | None:
    return next((flags[flags.index(name) + 1] for name in names if name in flags), None)


class TestEachIsTaken:
    """By the parser of its command, with every setting that it names."""

    def test_there_are_some_on_each_page(self):
        pages = {command.page.name for command in NAMED}
        assert pages >= {
            "README.md",
            "team.md",
            "walkthrough.md",
            "own-model.md",
            "CONTRIBUTING.md",
        }
        assert len(NAMED) > 90

    @pytest.mark.parametrize(
        "command", [each for each in NAMED if _training(each.words) is not None], ids=str
    )
    def test_of_training(self, command):
        flags, overrides = parted(_training(command.words), "train.py")
        if "--help" in flags:
            return
        folder, name = _options(flags, "-cd", "--config-dir"), _options(flags, "-cn")
        if folder == "my_conf":
            pytest.skip("docs/own-model.md makes that folder, and tests/test_own_model.py walks it")
        path = REPOSITORY / (folder or "conf")
        written = None if name is None else (path / f"{name}.yaml").read_text(encoding="utf-8")
        lines = as_meant(overrides, written)
        loader, master = multirun(lines, name or "config", [path] if folder else [])
        task = [str(line) for line in master.hydra.overrides.task]
        settings = plain(master.hydra.sweeper)
        refuse_unused(master, [*(settings["params"] or ()), *task])
        if not task or not ("-m" in flags or name is not None):
            return
        for key in ("_target_", "_recursive_", "_convert_"):
            settings.pop(key, None)
        options = StudyOptions.of(settings)
        fixed, dimensions = parse_space(
            options.params or {},
            task,
            config_loader=loader,
            current=master,
            seed=0,
            each=options.each,
            params_of=options.params_of,
        )
        assert dimensions or options.repeats
        composer = Composer(loader, master, fixed, dimensions)
        composer.check()
        for chosen in composer.combinations():
            composer.compose(chosen)

    @pytest.mark.parametrize(
        "command",
        [each for each in NAMED if each.words[0] == "recsweep" and _training(each.words) is None],
        ids=str,
    )
    def test_of_recsweep(self, command, capsys):
        parser = cli.command_parser()
        if command.is_inline:  # what is told in a sentence may lack what it acts on
            named, *rest = command.words[1:]
            with pytest.raises(SystemExit) as ended:
                parser.parse_args([named, "--help"])
            said = capsys.readouterr().out
            assert ended.value.code == 0
            assert [flag for flag in rest if flag.startswith("-") and flag not in said] == []
        else:
            parser.parse_args(command.words[1:])

    @pytest.mark.parametrize(
        "command",
        [each for each in NAMED if each.words[0] == "make" or each.words[1].endswith(".py")],
        ids=str,
    )
    def test_of_make_and_of_scripts(self, command):
        if command.words[0] == "make":
            targets = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
            assert re.search(rf"^{command.words[1]}:", targets, flags=re.MULTILINE)
        else:
            assert (REPOSITORY / command.words[1]).is_file()


def _of_readme() -> list[str]:
    """The command lines in README's blocks, in their order, each once."""
    lines = [
        re.sub(r"\s+#.*", "", line)
        for language, block in FENCE.findall(README.read_text(encoding="utf-8"))
        if language in SHELL
        for line in _lines(block)
    ]
    return list(dict.fromkeys(line for line in lines if line))


def _files_of_ones_own(folder: Path) -> None:
    """Files as the README names them: likes, events, and a split that is given."""
    rng = np.random.default_rng(0)
    users, items = rng.integers(60, size=1500), (50 * rng.random(1500) ** 2).astype(int)
    pairs = sorted(set(zip(users.tolist(), items.tolist(), strict=True)))
    names = [(2300 + user, (810, 2886)[item] if item < 2 else item) for user, item in pairs]
    stars = rng.choice([2, 4, 5], size=len(names))
    (folder / "likes.csv").write_text(
        "customer,product,stars\n"
        + "".join(
            f"{user},{item},{star}\n" for (user, item), star in zip(names, stars, strict=True)
        )
    )
    kinds = rng.choice(["view", "addtocart", "transaction"], size=len(names))
    pandas.DataFrame(names, columns=["visitorid", "itemid"]).assign(event=kinds).to_parquet(
        folder / "events.parquet"
    )
    for name, start in (("train", 0), ("test", 1)):
        chosen = [each for at, each in enumerate(names) if (at % 4 == 1) == bool(start)]
        (folder / f"{name}.txt").write_text("".join(f"{user} {item}\n" for user, item in chosen))


def _followed(folder: Path, line: str, *statuses: int) -> str:
    """What a command prints that ends with 0 or one of these statuses."""
    done = run(line, folder)
    assert done.returncode in (0, *statuses), f"{line}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.slow
def test_those_of_the_readme_one_after_another(tmp_path):
    """Word for word by a shell, on small data, in one home: what one command leaves the next one
    uses."""
    _files_of_ones_own(tmp_path)
    for name in ("train.py", "conf", "experiments"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    lines = _of_readme()
    left_out = {start for line in lines for start in NOT_RUN if line.startswith(start)}
    assert left_out == set(NOT_RUN), "README has no longer what is left out"

    follow = partial(_followed, tmp_path)
    small = f"{TINY} trainer.max_epochs=2 hydra.sweeper.study_name=mine"
    follow(f"python train.py -m model=ease,recipe_net model.user_dim=4,10 {small}")
    follow("recsweep refit mine --seeds 2")
    ran = 0
    for line in lines:
        if line.startswith(tuple(NOT_RUN)):
            continue
        if line.startswith("python train.py") and "data" not in line:
            line = f"{line} {TINY}" + (" trainer.max_epochs=2" if " -m " in line else "")
        line = re.sub(r"\b(STUDY|NAME)\b", "mine", line)
        line = re.sub(r"\| jq .*", "| python -m json.tool", line)
        if line == "recsweep champion":  # and a rollback has somewhere to go
            for chosen in ("popularity", "--study mine"):
                follow(f"recsweep promote {chosen} --force --reason 'walked by a test'")
        if line.startswith("recsweep promote"):
            follow(line, 3)
        else:
            follow(line)
        ran += 1
    assert ran > 25


@pytest.mark.slow
def test_those_of_the_walkthrough_one_after_another(tmp_path, full):
    """The same of docs/walkthrough.md, with ids of the small data; what its server answers is in
    tests/test_served_model.py."""
    if not full:
        pytest.skip("in the long form alone (--full)")

    follow = partial(_followed, tmp_path)
    text = (REPOSITORY / "docs" / "walkthrough.md").read_text(encoding="utf-8")
    lines = [line for _, block in FENCE.findall(text) for line in _lines(block)]
    ran = []
    for line in lines:
        if not line.startswith("recsweep") or line.startswith("recsweep serve"):
            continue
        line = line.replace("$FOODCOM", f"data=synthetic data.name=foodcom {TINY}")
        line = line.replace("27208,39087,810", "2,3,8").replace("1535", "15")
        if '"ials ' in line:  # on this data the best is one of other settings
            tables = json.loads(follow("recsweep runs --format json"))
            names = {row["model"] for table in tables for row in table["rows"]}
            line = re.sub(r'"ials .*"', f'"{max(name for name in names if "ials" in name)}"', line)
        if line == "recsweep champion":  # the rule may refuse them all on this data
            follow("recsweep promote --study net --force --reason 'walked by a test'")
        ran.append(line.split()[1])
        follow(line, *([3] if ran[-1] == "promote" else []))
    assert set(ran) >= {"study", "train", "refit", "compare", "promote", "champion", "recommend"}
