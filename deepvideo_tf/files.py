"""Writing files so that nobody ever sees half of one."""

import os
from pathlib import Path


def write_text_atomically(path, text):
    """Writes a UTF-8 text file under a temporary name, syncs it to the disk and renames it.

    Args:
        path: the file; one that is there is replaced.
        text: its content.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
