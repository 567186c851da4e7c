"""Real videos for the programs."""

import pytest


@pytest.fixture(scope="module")
def real_videos(ucf101_6, tmp_path_factory):
    """Two real classes of six videos each, as a folder of classes."""
    root = tmp_path_factory.mktemp("real") / "videos"
    for name in ("Surfing", "PlayingPiano"):
        (root / name).mkdir(parents=True)
        for video in sorted((ucf101_6 / "videos" / name).iterdir())[::8][:6]:
            (root / name / video.name).symlink_to(video)
    return root
