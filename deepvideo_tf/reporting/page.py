"""The page of a report: one self-contained HTML file, and the same as Markdown."""

import base64
import html
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepvideo_tf.errors import ConfigError
from deepvideo_tf.storage.writes import write_text_atomically

if TYPE_CHECKING:
    import jinja2

Cell = Mapping[str, Any]

TEMPLATES = ("report.html.jinja", "report.md.jinja")
MISSING = "a report needs Jinja2 and matplotlib: pip install 'deepvideo-tf[report]'"


def write_pages(report: Mapping[str, Any], folder: str | Path) -> list[Path]:
    """Write a report as `report.html` and `report.md`.

    The HTML page embeds its pictures, loads nothing, and runs no script.

    Args:
        report: from `make_report`; a picture's `file` is relative to the folder.
        folder: where to.

    Returns:
        Paths of the two files.

    Raises:
        ConfigError: Jinja2 is not installed.
    """
    environment = _environment()
    paths = []
    for template in TEMPLATES:
        path = Path(folder) / template.removesuffix(".jinja")
        text = environment.get_template(template).render(report, embedded=lambda file: _data_uri(Path(folder) / file))
        write_text_atomically(path, text)
        paths.append(path)
    return paths


def _environment() -> "jinja2.Environment":
    try:
        import jinja2
    except ModuleNotFoundError:
        raise ConfigError(MISSING) from None
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("deepvideo_tf.reporting", "."),
        autoescape=lambda name: name == TEMPLATES[0],
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": number, "interval": interval, "has_paper": has_paper}
    environment.filters |= {"cell": markdown_cell, "papers": paper_number, "line": one_line}
    return environment


def number(cell: Cell) -> str:
    """Return the value of a cell as text, a dash if there is none."""
    return _format(cell, cell["value"])


def paper_number(cell: Cell) -> str:
    """Return the paper's value of a cell as text."""
    return _format(cell, cell["paper"])


def _format(cell: Cell, value: float | None) -> str:
    if value is None:
        return "-"
    if cell.get("is_rate"):
        return f"{value:.1f}"
    if cell.get("is_ratio"):
        return f"{value:.2f}"
    return f"{value:+.3f}" if cell.get("is_change") else f"{value:.3f}"


def interval(cell: Cell) -> str:
    """Return the 95% interval of a cell as text, empty if there is none."""
    if not cell["interval"]:
        return ""
    return " to ".join(_format(cell, end) for end in cell["interval"])


def has_paper(table: Mapping[str, Any], column: int) -> bool:
    """Return whether the paper has a value anywhere in a column."""
    cells = (row["cells"][column] for row in table["rows"])
    return any(isinstance(cell, dict) and cell["paper"] is not None for cell in cells)


def markdown_cell(cell: Cell | str) -> str:
    """Return a cell as Markdown: the value, its interval in brackets."""
    if isinstance(cell, str):
        return one_line(cell)
    ends = interval(cell)
    return number(cell) + (f" ({ends})" if ends else "")


def one_line(text: str) -> str:
    """Return a text that stays within its cell of a Markdown table, with HTML escaped."""
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def _data_uri(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
