"""History of a run."""

import csv
import io

from deepvideo_tf.storage.writes import write_text_atomically


def write_history(workdir, epoch, logs):
    """Adds an epoch to `history.csv`, in place of those that an interrupted process may have written after it."""
    path = workdir / "history.csv"
    # Whatever a user's spreadsheet has made of it: what is no row of ours is left out.
    before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    rows = list(csv.DictReader(io.StringIO(before)))
    text = io.StringIO()
    writer = csv.DictWriter(text, ["epoch", *logs], lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(row for row in rows if (number := row.get("epoch") or "").isdecimal() and int(number) < epoch)
    writer.writerow({"epoch": epoch, **logs})
    write_text_atomically(path, text.getvalue())
