"""Where the repository and the real videos are."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent.parent


DATA = Path(os.environ.get("DEEPVIDEO_TEST_DATA", REPOSITORY.parent / "shared" / "data"))


def real_data(folder):
    """A folder of real videos; the test is skipped where it is absent, except on CI, where it must be there."""
    path = DATA / folder
    if not path.is_dir() and not os.environ.get("CI"):
        pytest.skip(f"no real videos at {path}; set DEEPVIDEO_TEST_DATA to where they are")
    assert path.is_dir()
    return path
