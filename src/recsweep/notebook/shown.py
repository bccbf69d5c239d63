"""The form in which a notebook shows a result."""

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame


def html(frame: "DataFrame", *sentences: str) -> str:
    """Sentences, and a table under them, as HTML."""
    paragraphs = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    table = frame.to_html(float_format=lambda value: f"{value:.4f}", na_rep="–", max_rows=40)
    return paragraphs + table
