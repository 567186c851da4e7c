"""`history.csv` of a run: the metrics of each epoch."""

import csv
import io
import math
from collections.abc import Mapping

from deepvideo_tf.errors import ConfigError
from deepvideo_tf.storage.paths import AnyPath, PathLike, to_path
from deepvideo_tf.storage.writes import write_text_atomically

HISTORY_NAME = "history.csv"


def write_history(workdir: AnyPath, epoch: int, logs: Mapping[str, float]) -> None:
    """Add an epoch to `history.csv`, in place of those that an interrupted process may have written after it.

    Args:
        workdir: the run's folder.
        epoch: its number, from 0.
        logs: its metrics.
    """
    path = workdir / HISTORY_NAME
    # A spreadsheet may have changed the file: what is not a row of ours is left out.
    before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    rows = list(csv.DictReader(io.StringIO(before)))
    text = io.StringIO()
    writer = csv.DictWriter(text, ["epoch", *logs], lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(row for row in rows if (number := row.get("epoch") or "").isdecimal() and int(number) < epoch)
    writer.writerow({"epoch": epoch, **logs})
    write_text_atomically(path, text.getvalue())


def read_history(path: PathLike) -> dict[str, list[float]]:
    """Read a run's `history.csv`.

    Args:
        path: the file.

    Returns:
        Dict from the column's name to one float per epoch; NaN for what is not a number.

    Raises:
        ConfigError: there is no such file, or it has no epoch.
    """
    try:
        text = to_path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"{path}: the curves cannot be read: {error.strerror}") from None
    rows = [row for row in csv.DictReader(io.StringIO(text)) if (row.get("epoch") or "").isdecimal()]
    if not rows:
        raise ConfigError(f"{path}: expected the history of a run, found no epoch")
    return {name: [_to_number(row[name]) for row in rows] for name in rows[0] if name}


def _to_number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan
