"""What all figures share: the canvas, colors, and names in one line."""

import io
import textwrap
import warnings

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, SKY, GRAY = "#0072B2", "#E69F00", "#56B4E9", "0.85"  # Okabe and Ito's, and a gray
DPI = 110
MAX_NAME = 32  # characters of the name of a class or a video


class NotebookFigure(Figure):
    """A figure that a notebook displays without pyplot."""

    def _repr_png_(self) -> bytes:
        return to_png(self)


def to_png(figure: Figure) -> bytes:
    """Draw a figure.

    Args:
        figure: a matplotlib `Figure`.

    Returns:
        The bytes of a PNG file; its size is the figure's in inches times its dots per inch.
    """
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # of class names: drawn as a box
        FigureCanvasAgg(figure).print_png(content)
    return content.getvalue()


def new_figure(width_in: float, height_in: float, title: str | None) -> Figure:
    """Return an empty figure with a title."""
    figure = NotebookFigure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    if title:
        figure.suptitle(textwrap.fill(one_line(title, None), max(30, int(11 * width_in))), fontsize=11)
    return figure


def one_line(text: object, most: int | None = MAX_NAME) -> str:
    """Return a text in one line of at most `most` characters, in which matplotlib finds no formula."""
    line = " ".join(str(text).split())
    if most is not None and len(line) > most:
        line = f"{line[: most - 1]}…"
    return line.replace("$", r"\$")
