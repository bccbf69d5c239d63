"""A notebook with its output, as Markdown."""

import json
import re
from pathlib import Path
from typing import Any


def as_markdown(path: Path) -> str:
    """The cells of a notebook in their order, tables as they show themselves."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join(part for cell in cells for part in _parts(cell))


def _parts(cell: dict[str, Any]) -> list[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return [source]
    return [f"```python\n{source}\n```", *map(_output, cell["outputs"])]


def _output(output: dict[str, Any]) -> str:
    shown = output.get("data", {})
    if page := "".join(shown.get("text/html", ())):
        page = re.sub(r"<style.*?</style>", "", page, flags=re.DOTALL)
        page = page.replace('<table border="1" class="dataframe">', "<table>")
        return re.sub(r"\n\s*", "", page)
    text = "".join(shown.get("text/plain", output.get("text", ())))
    return f"```\n{text}\n```"
