"""The documentation: its links lead somewhere, on GitHub and on the site, and the reference has all
that there is. Nothing of it needs mkdocs or the network."""

import re
from pathlib import Path

import pytest

from docs_build import links, notebook, reference
from recsweep.cli import command_parser
from recsweep.config import conf_dir
from recsweep.measures import ENTRIES
from tests.conftest import REPOSITORY

PAGES = links.pages()
NAMES = [page.relative_to(REPOSITORY).as_posix() for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path):
    for link in links.links_of(page):
        if link.path is None:
            assert link.text.startswith("https://"), link.text
            continue
        assert link.path.is_relative_to(REPOSITORY), f"{link.text} leads out of the repository"
        assert link.path.is_file(), f"{link.text}: there is no such file"
        if link.anchor:
            known = links.anchors_of(link.path)
            assert link.anchor in known, f"{link.text}: {link.path.name} has {sorted(known)}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_lists_and_tables_stand_apart(page: Path):
    """Python-Markdown, unlike GitHub, reads no list and no table that a line of text touches."""
    begins = re.compile(r"(- |\d+\. |\|)")
    before = ""
    for line in links.without_fences(page).splitlines():
        goes_on = before.startswith((" ", "#")) or begins.match(before) or not before
        assert goes_on or not begins.match(line), f"leave a line empty above {line!r}"
        before = line


def test_the_site_has_all_pages():
    settings = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    made = {f"docs/reference/{name}.md" for name in reference.PAGES} | {"docs/notebook.md"}
    shown = re.findall(r": (\S+\.md)$", settings.partition("\nnav:")[2], flags=re.MULTILINE)
    assert sorted(shown) == sorted({*NAMES, *made})


def test_readme_leads_to_the_pages_of_docs():
    linked = {link.path for link in links.links_of(REPOSITORY / "README.md")}
    lacks = {page.name for page in (REPOSITORY / "docs").glob("*.md") if page not in linked}
    assert not lacks


def test_questions_quote_what_is_said():
    """The headings of errors are those of the code, whatever stands for … in them."""
    sources = [path.read_text("utf-8") for path in (REPOSITORY / "src").rglob("*.py")]
    said = re.sub(r'"\s*\n\s*f?"', "", "\n".join(sources))
    page = (REPOSITORY / "docs" / "faq.md").read_text(encoding="utf-8")
    quoted = [
        part.strip(" ,.")
        for heading in re.findall(r"^### (`.*`)$", page, flags=re.MULTILINE)
        if "recsweep: command not found" not in heading  # which a shell says
        for part in heading.strip("`").split("…")
    ]
    assert len(quoted) > 8
    assert not [part for part in quoted if part not in said]


def test_anchors_are_those_of_github(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# What a `store` may: run?\n```\n# no heading\n```\n## Twice\n## Twice\n")
    assert links.anchors_of(page) == {"what-a-store-may-run", "twice", "twice-1"}


def test_links_in_code_are_none(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("`[a](b)` [c](d.md#e) ![f](g.png)\n```\n[h](i)\n```\n")
    assert [link.text for link in links.links_of(page)] == ["d.md#e", "g.png"]


def test_every_command_and_option_stands_in_the_reference():
    page = reference.commands()
    for name, parser in reference.parsers(command_parser()).items():
        if name != "train":
            section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
            flags = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", parser.format_usage()))
            assert not {flag for flag in flags if f"`{flag}" not in section}, name


def test_every_option_of_every_group_stands_in_the_reference():
    page = reference.settings()
    for path in conf_dir().rglob("*/*.yaml"):
        name = f"{path.parent.relative_to(conf_dir()).as_posix()}={path.stem}"
        assert f"\n### {name}\n" in page
    assert "| `split.validation` | `0.1` | Share of the cells, below 1; 0 for no" in page
    assert "The settings of `data=csv`, with these values:" in page  # of data=file


def test_every_measure_has_its_definition_in_the_reference():
    page = reference.measured()
    for entry in ENTRIES:
        (line,) = re.findall(rf"^\| `{re.escape(entry.name)}` \|.*$", page, flags=re.MULTILINE)
        assert entry.form is None or len(line.rsplit("** ", 1)[1]) > 30, line


def test_the_notebook_has_its_output():
    page = notebook.as_markdown(REPOSITORY / "docs" / "notebook.ipynb")
    assert "```python\nimport recsweep as rs" in page
    assert "<table>" in page
    assert "<style" not in page
