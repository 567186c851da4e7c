import hashlib

import av
import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.synthetic import DIRECTIONS, NUM_FRAMES, _drifting_frames, _texture
from deepvideo_tf.errors import ConfigError, ShardError


def frames_of(path):
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        return np.stack([frame.to_ndarray(format="gray") for frame in container.decode(video=0)]).astype(float)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_files_move_as_their_class_says(synthetic_videos, name):
    down, right = DIRECTIONS[name]
    for path in sorted((synthetic_videos / name).iterdir()):
        frames = frames_of(path)
        assert len(frames) == NUM_FRAMES
        errors = {}
        for speed in range(-6, 7):
            moved = np.roll(frames[:-1], (down * speed, right * speed), axis=(1, 2))
            errors[speed] = np.abs(moved - frames[1:])[:, 8:-8, 8:-8].mean()
        assert 3 <= min(errors, key=errors.get) <= 5


@pytest.mark.parametrize("name", DIRECTIONS)
def test_frames_alone_say_nothing(name):
    """Played backwards, a video is one of the opposite class, frame for frame."""
    texture, offset, step = _texture(np.random.default_rng(0)), np.array([5, 7]), 4 * np.array(DIRECTIONS[name])
    forwards = list(_drifting_frames(texture, offset, step))
    of_opposite = list(_drifting_frames(texture, offset - (NUM_FRAMES - 1) * step, -step))
    np.testing.assert_array_equal(forwards[::-1], of_opposite)
    assert tuple(-np.array(DIRECTIONS[name])) in DIRECTIONS.values()


def test_the_same_bytes_every_time(synthetic_videos, tmp_path):
    again = dv.make_synthetic(tmp_path / "videos", videos_per_class=4)
    for path in sorted(again.rglob("*.mp4")):
        original = synthetic_videos / path.relative_to(again)
        assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(original.read_bytes()).digest()
    assert len(list(again.rglob("*.mp4"))) == 16


def test_a_finished_folder_is_left_alone_and_another_refused(tmp_path):
    root = dv.make_synthetic(tmp_path / "videos", videos_per_class=2)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    dv.make_synthetic(root, videos_per_class=2)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    with pytest.raises(ShardError, match="expected a new or empty folder"):
        dv.make_synthetic(root, videos_per_class=3)
    (root / "moves_up/0001.mp4").unlink()
    with pytest.raises(ShardError, match="expected 8 videos, found 7"):
        dv.make_synthetic(root, videos_per_class=2)
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]


def test_bad_arguments(tmp_path):
    with pytest.raises(ConfigError, match="videos_per_class must be"):
        dv.make_synthetic(tmp_path / "videos", videos_per_class=1)
    with pytest.raises(ConfigError, match="seed must be"):
        dv.make_synthetic(tmp_path / "videos", seed=-1)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ShardError, match="cannot be written"):
        dv.make_synthetic(tmp_path / "file" / "videos", videos_per_class=2)
