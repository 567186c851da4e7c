"""`history.csv` of a run: the metrics of each epoch."""

import csv
import io
from collections.abc import Mapping

from deepvideo_tf.storage.paths import AnyPath
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
