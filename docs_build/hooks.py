"""What mkdocs makes the site of: the Markdown files of the repository under their own paths, what
they link to, and the pages that are made from the code."""

import re
from typing import TYPE_CHECKING

from links import ROOT, links_of, pages
from notebook import as_markdown
from reference import PAGES

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page


LOADED = r'<(?:script|img|iframe|link (?!rel="(?:canonical|prev|next)"))[^>]*="?https?://[^>]*>'
"""What a browser fetches as it shows a page; not the page's own address."""


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """The files of the site in place of those of `docs_dir`."""
    from mkdocs.structure.files import File, Files

    theirs = [file for file in files if file.src_dir != config.docs_dir]
    ours = {
        f"assets/{path.name}": {"abs_src_path": str(path)}
        for path in (ROOT / "docs_build" / "assets").iterdir()
    }
    for page in pages():
        ours[page.relative_to(ROOT).as_posix()] = {"abs_src_path": str(page)}
        for link in links_of(page):
            if link.path is not None and link.path.is_file():
                name = link.path.relative_to(ROOT).as_posix()
                ours.setdefault(name, {"abs_src_path": str(link.path)})
    for name, write in PAGES.items():
        ours[f"docs/reference/{name}.md"] = {"content": write()}
    ours["docs/notebook.md"] = {"content": as_markdown(ROOT / "docs" / "notebook.ipynb")}
    return Files([*theirs, *(File.generated(config, name, **at) for name, at in ours.items())])


def on_page_content(html: str, **_: object) -> str:
    """A `|` in a cell's code is written `\\|`, which GitHub reads and Python-Markdown leaves."""
    return re.sub(r"<code>.*?</code>", lambda code: code[0].replace("\\|", "|"), html)


def on_post_page(output: str, page: "Page", **_: object) -> str:
    """Name the theme's search, which is a dialog without one; refuse what a browser would fetch
    from elsewhere."""
    from mkdocs.exceptions import PluginError

    if found := re.search(LOADED, output):
        raise PluginError(f"{page.file.src_uri} would load {found[0]} from elsewhere.")
    search = 'data-md-component="search" role="dialog"'
    return output.replace(search, f'{search} aria-label="Search"')
