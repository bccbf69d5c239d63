"""The pages of the documentation and their links, as the site and the tests see them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

OUTSIDE = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "experiments/README.md")
"""Pages that lie outside of docs/ and benchmarks/."""


@dataclass(frozen=True)
class Link:
    """A link of a page.

    Attributes:
        text: As it is written.
        path: The file that it leads to; None for one that leads out of the repository.
        anchor: The heading there; empty for none.
    """

    text: str
    path: Path | None
    anchor: str


def pages() -> list[Path]:
    """The files that people read, in Markdown."""
    folders = (ROOT / name for name in ("docs", "benchmarks"))
    return [
        *(ROOT / name for name in OUTSIDE),
        *(path for folder in folders for path in sorted(folder.glob("*.md"))),
    ]


def links_of(page: Path) -> Iterator[Link]:
    """The links and pictures of a page, without what only looks so in code."""
    for target in re.findall(r"\]\(([^()\s]+)\)", _without_code(page)):
        place, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            yield Link(target, None, "")
        else:
            yield Link(target, (page.parent / place).resolve() if place else page, anchor)


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub names them."""
    names: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.*?) *$", without_fences(page), flags=re.MULTILINE):
        text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        names[name] = names.get(name, -1) + 1
        if names[name]:
            names[f"{name}-{names[name]}"] = 0
    return set(names)


def without_fences(page: Path) -> str:
    """The text of a page without its blocks of code."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"^( *)(```+).*?^\1\2", "", text, flags=re.MULTILINE | re.DOTALL)


def _without_code(page: Path) -> str:
    return re.sub(r"`[^`\n]*`", "", without_fences(page))
