import hashlib
import json
from functools import cache

import av
import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.synthetic import DIRECTIONS, FRAME_RATE_FPS, KINDS, NOTE_NAME, NUM_FRAMES, draw_patch, render
from deepvideo_tf.errors import ConfigError, ShardError

CONTROLS = {
    "plain": {},
    "off_centre": {"off_centre": True},
    "camera_motion": {"camera_motion": True},
    "both": {"off_centre": True, "camera_motion": True},
}
MOTIONS = [kind for kind in KINDS if kind != "appearance"]
OPPOSITES = {
    "moves_down": "moves_up",
    "moves_left": "moves_right",
    "turns_clockwise": "turns_counterclockwise",
    "zooms_in": "zooms_out",
}
FOVEA = np.s_[:, 28:-28, 28:-28]  # all that a fovea may see, wherever the crop lies: half of 178 px out of 200
CENTRE_HALF = np.s_[:, 32:-32, 32:-32]


def kind_of(name):
    return next(kind for kind, classes in KINDS.items() if name in classes)


def decoded(path):
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(float)
    assert frames.shape == (NUM_FRAMES, 128, 128, 3)
    return frames


def rendered(name, seed=0, **controls):
    return np.stack(list(render(kind_of(name), name, np.random.default_rng(seed), **controls))).astype(float)


# How the videos are told: by measures of their pixels that share nothing with how they are made.


def shift_px(grey):
    """The shift, (down, right), after which a frame is most like the next, to parts of a px."""
    errors = np.empty((15, 15))
    for down, right in np.ndindex(errors.shape):
        moved = np.roll(grey[:-1:5], (down - 7, right - 7), axis=(1, 2))
        errors[down, right] = np.square(moved - grey[1::5])[:, 7:-7, 7:-7].mean()
    best = np.unravel_index(errors[1:-1, 1:-1].argmin(), (13, 13))
    shift = []
    for axis in (0, 1):  # the lowest point of the parabola through the least error and its neighbours
        before, least, after = np.take(errors, best[1 - axis] + 1, axis=1 - axis)[best[axis] : best[axis] + 3]
        shift.append(best[axis] - 6 + (before - after) / 2 / (before - 2 * least + after))
    return tuple(shift)


def flow(grey):
    """A frame's growth (a factor, less 1) and clockwise turn (degrees): a least-squares fit of optical flow."""
    for _ in range(2):  # motions of some px are small only against what is smooth
        for axis in (1, 2):
            grey = sum(np.roll(grey, shift, axis) for shift in range(-2, 3)) / 5
    found = []
    for before, after in zip(grey[:-1, 4:-4, 4:-4], grey[1:, 4:-4, 4:-4], strict=True):
        down, right = np.indices(before.shape) - np.array(before.shape)[:, None, None] / 2
        by_down, by_right = np.gradient((before + after) / 2)
        columns = [by_down, by_right, by_down * down + by_right * right, by_down * right - by_right * down]
        matrix = np.stack([column.ravel() for column in columns], axis=1)
        found.append(np.linalg.lstsq(matrix, (before - after).ravel(), rcond=None)[0][2:])
    growth, turn = np.median(found, axis=0)
    return growth, np.rad2deg(turn)


def tempo_hz(grey):
    """The tempo of the sine that fits the brightness best."""
    brightness, time_s = grey.mean(axis=(1, 2)), np.arange(NUM_FRAMES) / FRAME_RATE_FPS
    misfit = {}
    for tempo in np.arange(1, 12, 0.25):
        waves = [np.ones(NUM_FRAMES), np.sin(2 * np.pi * tempo * time_s), np.cos(2 * np.pi * tempo * time_s)]
        misfit[tempo] = np.linalg.lstsq(np.stack(waves, axis=1), brightness, rcond=None)[1].sum()
    return min(misfit, key=misfit.get)


def tell(kind, frames):
    """The class of a part of a video."""
    grey = frames.mean(axis=-1)
    if kind == "appearance":
        return ["looks_red", "looks_green", "looks_blue"][np.argmax(frames.mean(axis=(0, 1, 2)))]
    if kind == "direction":
        down, right = shift_px(grey)
        if abs(down) > abs(right):
            return "moves_down" if down > 0 else "moves_up"
        return "moves_right" if right > 0 else "moves_left"
    if kind == "rhythm":
        return f"pulses_at_{tempo_hz(grey):g}_hz"
    growth, turn = flow(grey)
    if kind == "rotation":
        return "turns_clockwise" if turn > 0 else "turns_counterclockwise"
    return "zooms_in" if growth > 0 else "zooms_out"


def strip(still_camera):
    """The strip along an edge in which a video changes; compression blurs where it ends by some px."""
    change = still_camera.std(axis=0).mean(axis=-1)
    sides = []
    for axis in (1, 0):
        (changing,) = np.nonzero(change.mean(axis=axis) > change.mean(axis=axis).max() / 3)
        sides.append(slice(changing.min(), changing.max() + 1))
    return np.s_[:, *sides]


@cache
def strip_of_file(still_camera):
    return strip(decoded(still_camera))


# The kinds and controls of which files are made and measured. Plain directions are those of `synthetic_videos`.
MADE = [(kind, "plain") for kind in KINDS if kind != "direction"]
MADE += [(kind, "off_centre") for kind in KINDS]
MADE += [(kind, "both") for kind in ("direction", "rotation", "zoom")]


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Two videos of each class."""
    folder = tmp_path_factory.mktemp("kinds")
    return {
        (kind, controls): dv.make_synthetic(
            folder / f"{kind}-{controls}", kind=kind, videos_per_class=2, **CONTROLS[controls]
        )
        for kind, controls in MADE
    }


@pytest.mark.parametrize("name", DIRECTIONS)
def test_files_move_as_their_class_says(synthetic_videos, name):
    down, right = DIRECTIONS[name]
    for path in sorted((synthetic_videos / name).iterdir()):
        moved_down, moved_right = shift_px(decoded(path).mean(axis=-1))
        assert 2.8 < moved_down * down + moved_right * right < 5.2
        assert abs(moved_down * right) + abs(moved_right * down) < 0.2


@pytest.mark.parametrize(
    ("kind", "name", "slowest", "fastest"),
    [("rotation", "turns_clockwise", (-0.01, 2.5), (0.01, 5.5)), ("zoom", "zooms_in", (0.02, -0.5), (0.06, 0.5))],
)
def test_turns_and_zooms_are_as_fast_as_they_say(roots, kind, name, slowest, fastest):
    for path in sorted(roots[kind, "plain"].rglob("*.mp4")):
        frames = decoded(path)[:, 24:-24, 24:-24]  # where motions are small enough for the measure
        growth, turn = flow(frames.mean(axis=-1)) if path.parent.name == name else flow(frames[::-1].mean(axis=-1))
        assert slowest[0] < growth < fastest[0]
        assert slowest[1] < turn < fastest[1]


@pytest.mark.parametrize(("kind", "controls"), MADE)
def test_files_are_what_their_class_says(roots, kind, controls):
    paths = sorted(roots[kind, controls].rglob("*.mp4"))
    assert sorted({path.parent.name for path in paths}) == sorted(KINDS[kind])
    assert len(paths) == 2 * len(KINDS[kind])
    for path in paths:
        frames = decoded(path)
        if "off_centre" in CONTROLS[controls]:
            frames = frames[strip_of_file(roots[kind, "off_centre"] / path.relative_to(roots[kind, controls]))]
            assert sorted(frames.shape[1:3]) == pytest.approx([26, 76], abs=4)
        assert tell(kind, frames) == path.parent.name


@pytest.mark.parametrize("kind", KINDS)
def test_off_centre_files_stand_still_where_a_fovea_looks(roots, kind):
    for path in sorted(roots[kind, "off_centre"].rglob("*.mp4")):
        frames = decoded(path)
        assert frames[CENTRE_HALF].std(axis=0).mean() < 0.5
        assert frames[strip_of_file(path)].std(axis=0).mean() > 10


@pytest.mark.parametrize("kind", KINDS)
def test_off_centre_the_fovea_sees_the_same_of_all_classes(kind):
    """The same draws give the same pixels, drifting ones, outside the strip: they cannot tell the class."""
    first, *others = [rendered(name, **CONTROLS["both"]) for name in KINDS[kind]]
    for other in others:
        np.testing.assert_array_equal(other[FOVEA], first[FOVEA])
        assert not np.array_equal(other, first)


def test_strips_lie_along_all_four_edges():
    places = {str(draw_patch(np.random.default_rng(seed))) for seed in range(50)}
    assert len(places) == 4
    for seed in range(50):
        seen = np.zeros((1, 128, 128))
        seen[0][draw_patch(np.random.default_rng(seed))] = 1
        assert seen.sum() == 26 * 76
        assert seen[FOVEA].sum() == 0


def test_the_camera_pans_each_video_its_own_way(roots):
    paths = sorted(roots["direction", "both"].rglob("*.mp4"))
    pans = np.array([shift_px(decoded(path)[FOVEA].mean(axis=-1)) for path in paths])
    speeds = np.hypot(*pans.T)
    assert 0.8 < speeds.min() < speeds.max() < 1.7  # 1 to 1.5, measured
    assert np.ptp(pans, axis=0).min() > 1.5


@pytest.mark.parametrize("controls", ["camera_motion", "both"])
@pytest.mark.parametrize("name", OPPOSITES)
def test_played_backwards_a_video_is_of_the_opposite_class(name, controls):
    """Frame by frame, the two classes have the same pictures: only their order tells them apart."""
    frames = rendered(name, **CONTROLS[controls])
    where = np.s_[:]
    if "off_centre" in CONTROLS[controls]:
        where = strip(rendered(name, off_centre=True))
    assert tell(kind_of(name), frames[where]) == name
    assert tell(kind_of(name), frames[::-1][where]) == OPPOSITES[name]


@pytest.mark.parametrize("controls", CONTROLS)
@pytest.mark.parametrize("kind", MOTIONS)
def test_the_first_frame_is_of_any_class(kind, controls):
    draws = [np.random.default_rng(0) for _ in KINDS[kind]]
    first, *others = [
        next(render(kind, name, rng, **CONTROLS[controls])) for name, rng in zip(KINDS[kind], draws, strict=True)
    ]
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_in_a_second_all_tempos_show_the_same_frames():
    of_tempo = [rendered(name)[:FRAME_RATE_FPS] for name in KINDS["rhythm"]]
    by_brightness = [frames[np.argsort(frames.mean(axis=(1, 2, 3)))] for frames in of_tempo]
    for frames in by_brightness[1:]:
        np.testing.assert_allclose(frames, by_brightness[0], atol=1)


def test_an_appearance_moves_alike_in_all_classes():
    """The same draws give the same motion, which therefore says nothing; the colour is all that differs."""
    red, green = rendered("looks_red"), rendered("looks_green")
    unclipped = (
        (red > 0).all(axis=-1) & (red < 255).all(axis=-1) & (green > 0).all(axis=-1) & (green < 255).all(axis=-1)
    )
    assert unclipped.mean() > 0.8
    np.testing.assert_allclose((red - green)[unclipped], np.broadcast_to([60, -60, 0], (unclipped.sum(), 3)), atol=1)
    shifts = np.array([shift_px(rendered("looks_red", seed).mean(axis=-1)) for seed in range(4)])
    speeds = np.hypot(*shifts.T)
    assert 2.8 < speeds.min() < speeds.max() < 5.2
    assert np.ptp(shifts, axis=0).min() > 3


def test_the_same_bytes_every_time(synthetic_videos, roots, tmp_path):
    again = dv.make_synthetic(tmp_path / "videos", videos_per_class=4)
    turning = dv.make_synthetic(tmp_path / "turning", kind="rotation", videos_per_class=2, **CONTROLS["both"])
    for root, original in ((again, synthetic_videos), (turning, roots["rotation", "both"])):
        for path in sorted(root.rglob("*.mp4")):
            assert path.read_bytes() == (original / path.relative_to(root)).read_bytes()
    assert len(list(again.rglob("*.mp4"))) == 16
    other_seed = dv.make_synthetic(tmp_path / "other", videos_per_class=2, seed=1)
    assert (other_seed / "moves_up/0000.mp4").read_bytes() != (again / "moves_up/0000.mp4").read_bytes()


def test_the_default_is_what_it_was_before_there_were_kinds():
    """The digest is of the frames that the first version of this module rendered."""
    frames = list(render("direction", "moves_left", np.random.default_rng([0, 1, 0])))
    assert hashlib.sha256(np.stack(frames).tobytes()).hexdigest()[:16] == "37d00999d17e2127"


def test_a_finished_folder_is_left_alone_and_another_refused(tmp_path):
    root = dv.make_synthetic(tmp_path / "videos", videos_per_class=2)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    dv.make_synthetic(root, videos_per_class=2)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    others = [{"seed": 1}, {"kind": "zoom"}, {"off_centre": True}, {"camera_motion": True}, {"videos_per_class": 3}]
    for other in others:
        with pytest.raises(ShardError, match="expected a new or empty folder"):
            dv.make_synthetic(root, **{"videos_per_class": 2} | other)
    (root / "moves_up/0001.mp4").unlink()
    with pytest.raises(ShardError, match="expected 8 videos, found 7"):
        dv.make_synthetic(root, videos_per_class=2)
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]


def test_notes_without_the_kind_are_understood(tmp_path):
    root = dv.make_synthetic(tmp_path / "videos", videos_per_class=2)
    note = root / NOTE_NAME
    note.write_text(json.dumps({"videos_per_class": 2, "seed": 0}))
    assert dv.make_synthetic(root, videos_per_class=2) == root
    with pytest.raises(ShardError, match="expected a new or empty folder"):
        dv.make_synthetic(root, videos_per_class=2, kind="rotation")
    for damaged in (b"{", b"[]", b"\xff"):
        note.write_bytes(damaged)
        with pytest.raises(ShardError, match="expected a new or empty folder"):
            dv.make_synthetic(root, videos_per_class=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"videos_per_class": 1}, "videos_per_class must be a whole number, 2 or more. Received: 1"),
        ({"seed": -1}, "seed must be a whole number, 0 or more. Received: -1"),
        ({"kind": "colour"}, "kind must be one of appearance, direction, rhythm, rotation, zoom. Received: 'colour'"),
        ({"kind": ["zoom"]}, "kind must be one of"),
        ({"off_centre": "yes"}, "off_centre must be true or false. Received: 'yes'"),
        ({"camera_motion": None}, "camera_motion must be true or false. Received: None"),
    ],
)
def test_bad_arguments(tmp_path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        dv.make_synthetic(tmp_path / "videos", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ShardError, match="cannot be written"):
        dv.make_synthetic(tmp_path / "file" / "videos", videos_per_class=2)
