"""Where the repository is, and the real videos that some tests need."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent.parent
DATA = Path(os.environ.get("DEEPVIDEO_TEST_DATA", REPOSITORY.parent / "shared" / "data"))


def real_data(folder):
    """Return a folder of real videos; skip the test where it is absent, except on CI, where it must exist."""
    path = DATA / folder
    if not path.is_dir() and not os.environ.get("CI"):
        pytest.skip(f"no real videos at {path}; set DEEPVIDEO_TEST_DATA to their folder")
    assert path.is_dir()
    return path
