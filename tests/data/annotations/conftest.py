import pytest


@pytest.fixture
def root(tmp_path):
    """videos/{run,swim dive}/... with some files that are no videos."""
    for name in ("run/a.mp4", "run/b.AVI", "swim dive/c.webm", "swim dive/notes.txt", "readme.md", "run/.DS_Store"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "videos" / name).write_bytes(b"x")
    return tmp_path / "videos"
