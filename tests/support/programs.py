"""The programs, and what a user sees when one succeeds or fails."""

import json
import re

from PIL import Image

PROGRAMS = (
    "build-shards",
    "check-parity",
    "demo",
    "describe",
    "evaluate",
    "export-onnx",
    "export-saved-model",
    "export-tflite",
    "inspect-shards",
    "make-synthetic",
    "predict",
    "predict-many",
    "report",
    "serve",
    "train",
    "verify-shards",
)


def succeeded(result):
    """Check that a program succeeded and named the next command; return what it printed."""
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert "Next: " in result.stdout
    return result.stdout


def one_line(result, *words):
    """Check that a program failed with one line of error that holds these words; return the line."""
    assert result.returncode not in (0, -6, -9, -11)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert ": error: " in lines[0]
    assert all(word in lines[0] for word in words), lines[0]
    return lines[0]


def check_pictures(folder, names):
    """Check what reports rely on: the pictures in a folder, and their index."""
    index = json.loads((folder / "pictures.json").read_text())
    assert [picture["name"] for picture in index] == names
    assert {path.name for path in folder.iterdir()} == {"pictures.json", *(picture["file"] for picture in index)}
    for picture in index:
        assert set(picture) == {"name", "file", "title", "caption", "numbers"}
        assert re.fullmatch("[A-Z].*[0-9].*[.]", picture["caption"])
        with Image.open(folder / picture["file"]) as image:
            image.load()
            assert (image.format, min(image.size) > 200) == ("PNG", True)
