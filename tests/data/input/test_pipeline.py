import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.annotations import Annotations, LabelledVideo
from deepvideo_tf.data.input.pipeline import make_evaluation_dataset
from deepvideo_tf.data.shards.manifest import read_manifest
from deepvideo_tf.errors import ConfigError, ShardError

CLIP = dv.ClipSpec(num_frames=2, frame_stride=3, crop_size_px=28)


def epoch(dataset):
    batches = list(dataset.as_numpy_iterator())
    return np.concatenate([clips for clips, _ in batches]), np.concatenate([targets for _, targets in batches])


def test_shapes_and_counts(small_shards):
    dataset = dv.make_dataset(small_shards, "train", CLIP, batch_size=8, training=True)
    assert int(dataset.cardinality()) == 5  # 36 clips
    clips, targets = epoch(dataset)
    assert (clips.shape, clips.dtype) == ((36, 2, 28, 28, 3), np.uint8)
    assert (targets.shape, targets.dtype) == ((36, 4), np.float32)
    np.testing.assert_array_equal(targets.sum(axis=0), [9, 9, 9, 9])


def test_every_pass_is_another_epoch_and_every_epoch_a_function_of_seed_and_number(small_shards):
    def epochs(count, **arguments):
        dataset = dv.make_dataset(small_shards, "train", CLIP, training=True, **arguments)
        return [epoch(dataset) for _ in range(count)]

    first, second, third = epochs(3, seed=0)
    assert not np.array_equal(first[0], second[0])
    assert not np.array_equal(first[1], second[1])
    for one, same in ((first, epochs(1, seed=0)[0]), (third, epochs(1, seed=0, first_epoch=2)[0])):
        np.testing.assert_array_equal(one[0], same[0])
        np.testing.assert_array_equal(one[1], same[1])
    assert not np.array_equal(first[0], epochs(1, seed=1)[0][0])


@pytest.mark.parametrize("global_seed", [0, 7])
def test_the_order_does_not_depend_on_tensorflows_own_seed(small_shards, global_seed):
    import keras

    expected = epoch(dv.make_dataset(small_shards, "train", CLIP, training=True))
    keras.utils.set_random_seed(global_seed)
    came = epoch(dv.make_dataset(small_shards, "train", CLIP, training=True))
    np.testing.assert_array_equal(came[0], expected[0])


@pytest.fixture(scope="module")
def ramp_shards(tmp_path_factory):
    """One clip whose pixels tell where they are: red is the column, green the row, blue the frame."""
    from tests.support.videos import write_video

    root = tmp_path_factory.mktemp("ramp")
    ramp = np.arange(64, dtype=np.uint8) * 3
    frames = np.zeros((16, 64, 64, 3), np.uint8)
    frames[..., 0], frames[..., 1] = ramp[None, None, :], ramp[None, :, None]
    frames[..., 2] = (np.arange(16, dtype=np.uint8) * 15)[:, None, None]
    write_video(root / "ramp.mp4", frames)
    videos = Annotations(str(root), ("a", "b", "c"), (LabelledVideo("ramp.mp4", (0, 2)),))
    spec = dv.ShardSpec(clips_per_video=1, frame_size_px=64, frame_format="raw")
    dv.build_shards(videos, root / "shards", spec=spec, num_workers=1)
    return root / "shards"


def place(clip):
    """(top, left, mirrored, first frame) of a view of the ramp, `[time, height, width, 3]`, from its mean colours."""
    red, green, blue = np.moveaxis(clip[0].astype(float), -1, 0)
    middle = (clip.shape[1] - 1) / 2
    mirrored = red[:, 0].mean() > red[:, -1].mean()
    return round(green.mean() / 3 - middle), round(red.mean() / 3 - middle), bool(mirrored), round(blue.mean() / 15)


def test_the_papers_augmentation(ramp_shards):
    """Section 3.3: any crop, mirrored half of the time, one draw for all frames of a clip."""
    clip = dv.ClipSpec(num_frames=4, frame_stride=2, crop_size_px=56)
    dataset = dv.make_dataset(ramp_shards, "train", clip, training=True)
    places = []
    for _ in range(120):
        clips, targets = epoch(dataset)
        np.testing.assert_array_equal(targets, [[0.5, 0, 0.5]])
        whole = [place(clips[0, index : index + 1]) for index in range(4)]
        assert len({view[:3] for view in whole}) == 1
        assert [view[3] - whole[0][3] for view in whole] == [0, 2, 4, 6]
        places.append(whole[0])
    tops, lefts, mirrored, starts = map(set, zip(*places, strict=True))
    assert tops == lefts == set(range(9))
    assert mirrored == {False, True}
    assert 35 < sum(view[2] for view in places) < 85
    assert starts == set(range(10))  # 16 stored frames, of which the clip spans 7


def test_without_flip_nothing_is_mirrored(ramp_shards):
    clip = dv.ClipSpec(num_frames=1, crop_size_px=56, flip=False)
    dataset = dv.make_dataset(ramp_shards, "train", clip, training=True)
    assert not any(place(epoch(dataset)[0][0])[2] for _ in range(20))


def test_colour_jitter_is_one_draw_a_clip_and_keeps_the_picture(ramp_shards):
    clip = dv.ClipSpec(num_frames=4, crop_size_px=64, flip=False)
    plain = epoch(dv.make_dataset(ramp_shards, "train", clip, training=True))[0][0].astype(float)
    jittered = dv.make_dataset(ramp_shards, "train", clip, training=True, colour_jitter=0.4)
    again = dv.make_dataset(ramp_shards, "train", clip, training=True, colour_jitter=0.4)
    came = epoch(jittered)[0][0]
    np.testing.assert_array_equal(came, epoch(again)[0][0])
    assert not np.array_equal(came, epoch(jittered)[0][0])
    # Where nothing was cut off at 0 or 255, each frame is the same linear function of the plain one.
    grey, changed = plain.mean(axis=-1), came.astype(float).mean(axis=-1)
    inside = (came > 0).all(axis=-1) & (came < 255).all(axis=-1)
    slope, shift = np.polyfit(grey[inside], changed[inside], 1)
    assert 0.36 <= slope <= 1.96
    np.testing.assert_allclose(changed[inside], slope * grey[inside] + shift, atol=1.5)
    with pytest.raises(ConfigError, match="colour_jitter must be"):
        dv.make_dataset(ramp_shards, "train", clip, training=True, colour_jitter=1.0)


def test_without_training_it_is_the_middle(ramp_shards):
    clip = dv.ClipSpec(num_frames=2, frame_stride=3, crop_size_px=56)
    dataset = dv.make_dataset(ramp_shards, "train", clip)
    for _ in range(2):
        clips, _ = epoch(dataset)
        assert place(clips[0]) == (4, 4, False, 6)


def test_evaluation_views(ramp_shards):
    clip = dv.ClipSpec(num_frames=1, crop_size_px=56)
    ((views, targets, video_ids),) = make_evaluation_dataset(ramp_shards, "train", clip).as_numpy_iterator()
    assert views.shape == (1, 4, 1, 56, 56, 3)
    assert [place(view)[:3] for view in views[0]] == [(4, 4, False), (0, 0, True), (8, 8, False), (0, 8, True)]
    assert video_ids.tolist() == [b"ramp.mp4"]
    np.testing.assert_array_equal(targets, [[0.5, 0, 0.5]])


def test_clips_that_the_shards_cannot_give(small_shards):
    with pytest.raises(ConfigError, match=r"crop_size_px must be at most the 36 px .* Received: 37"):
        dv.make_dataset(small_shards, "train", dv.ClipSpec(crop_size_px=37))
    with pytest.raises(ConfigError, match=r"10 frames 3 apart span 28 frames, but the clips .* have 16"):
        dv.make_dataset(small_shards, "train", dv.ClipSpec(num_frames=10, frame_stride=3, crop_size_px=28))
    with pytest.raises(ConfigError, match="batch_size must be"):
        dv.make_dataset(small_shards, "train", CLIP, batch_size=0)
    with pytest.raises(ConfigError, match="num_views must be"):
        make_evaluation_dataset(small_shards, "train", CLIP, num_views=6)
    with pytest.raises(ShardError, match="expected shards of the split 'validation', found test, train"):
        dv.make_dataset(small_shards, "validation", CLIP)


def test_all_of_a_video_is_in_one_split(small_shards):
    ids = []
    for split in ("train", "test"):
        dataset = make_evaluation_dataset(small_shards, split, CLIP, num_views=1)
        ids.append({video_id for _, _, names in dataset.as_numpy_iterator() for video_id in names})
        assert len(ids[-1]) == read_manifest(small_shards, split).used
    assert not ids[0] & ids[1]


class TestState:
    """The state of a training set is (epoch, step)."""

    def test_it_goes_on_where_it_was(self, small_shards):
        dataset = dv.make_dataset(small_shards, "train", CLIP, batch_size=8, training=True, mixup_alpha=0.2)
        passes = [list(dataset.as_numpy_iterator()) for _ in range(2)]
        later = dv.make_dataset(
            small_shards, "train", CLIP, batch_size=8, training=True, mixup_alpha=0.2, first_epoch=1, first_step=3
        )
        rest, following = [list(later.as_numpy_iterator()) for _ in range(2)]
        assert len(rest) == 2
        assert len(following) == 5
        for came, expected in zip(rest, passes[1][3:], strict=True):
            np.testing.assert_array_equal(came[0], expected[0])
            np.testing.assert_array_equal(came[1], expected[1])


class TestWorkers:
    def video_sets(self, shards, workers, epoch=0):
        clip = dv.ClipSpec(crop_size_px=36, flip=False)
        parts = []
        for number in range(workers):
            dataset = dv.make_dataset(
                shards, "train", clip, training=True, worker=(number, workers), first_epoch=epoch, batch_size=4
            )
            parts.append([clip.tobytes() for batch, _ in dataset.as_numpy_iterator() for clip in batch])
            assert int(dataset.cardinality()) == -(-36 // workers // 4)
        return parts

    def test_they_share_the_clips_equally(self, small_shards):
        parts = self.video_sets(small_shards, 3)
        assert [len(part) for part in parts] == [12, 12, 12]
        assert not set(parts[0]) & set(parts[1])
        assert not set(parts[0]) & set(parts[2])
        assert not set(parts[1]) & set(parts[2])

    def test_uneven_shares_are_evened_out(self, small_shards):
        """Three shards for two workers: the one with a single shard sees it again, so that nobody waits for nobody."""
        assert [len(part) for part in self.video_sets(small_shards, 2)] == [18, 18]

    @pytest.mark.parametrize("worker", [(0, 4), (2, 2), (-1, 2), 3, (1,)])
    def test_bad_shares(self, small_shards, worker):
        with pytest.raises(ConfigError, match="worker must be"):
            dv.make_dataset(small_shards, "train", CLIP, training=True, worker=worker)


def test_time_jitter_changes_the_distance_of_frames_and_keeps_their_order(ramp_shards):
    clip = dv.ClipSpec(num_frames=4, frame_stride=3, crop_size_px=64, flip=False)
    dataset = dv.make_dataset(ramp_shards, "train", clip, training=True, time_jitter=0.5)
    spans = set()
    for _ in range(40):
        ((clips, _),) = dataset.as_numpy_iterator()
        numbers = [round(frame[..., 2].mean() / 15) for frame in clips[0]]
        assert numbers == sorted(numbers)
        assert 0 <= numbers[0] < numbers[-1] <= 15
        spans.add(numbers[-1] - numbers[0])
    assert min(spans) < 9 < max(spans)
    assert all(4 <= span <= 14 for span in spans)


def test_mixup_mixes_clips_and_targets_alike(small_shards):
    clip = dv.ClipSpec(crop_size_px=36, flip=False)
    arguments = {"training": True, "batch_size": 6}
    ((plain, targets), *_) = dv.make_dataset(small_shards, "train", clip, **arguments).as_numpy_iterator()
    mixed_set = dv.make_dataset(small_shards, "train", clip, mixup_alpha=1.0, **arguments)
    ((mixed, mixed_targets), *_) = mixed_set.as_numpy_iterator()
    np.testing.assert_allclose(mixed_targets.sum(axis=1), 1, atol=1e-6)
    parts = []
    for number in range(6):
        one, other = plain[number].astype(float), plain[::-1][number].astype(float)
        part = ((mixed[number] - other) * (one - other)).sum() / ((one - other) ** 2).sum()
        np.testing.assert_allclose(mixed[number], part * one + (1 - part) * other, atol=1.1)
        expected = part * targets[number] + (1 - part) * targets[::-1][number]
        np.testing.assert_allclose(mixed_targets[number], expected, atol=0.01)
        parts.append(part)
    assert 0 <= min(parts) < 0.4 < 0.6 < max(parts) <= 1


def test_every_batch_is_mixed_anew(small_shards):
    arguments = {"training": True, "batch_size": 6}
    plain = [targets for _, targets in dv.make_dataset(small_shards, "train", CLIP, **arguments).as_numpy_iterator()]
    mixed_set = dv.make_dataset(small_shards, "train", CLIP, mixup_alpha=1.0, **arguments)
    parts = []
    for before, (_, after) in zip(plain, mixed_set.as_numpy_iterator(), strict=True):
        differ = (before != before[::-1]).any(axis=1)
        part = np.where(differ, (after * before).sum(axis=1), np.nan)
        parts.append(part)
    shares = np.stack(parts)
    assert np.nanmax(np.nanstd(shares, axis=0)) > 0.1


def test_raw_and_jpeg_records_show_the_same(synthetic_videos, tmp_path):
    clips = {}
    for frame_format in ("raw", "jpeg"):
        spec = dv.ShardSpec(clips_per_video=1, frame_size_px=64, frame_format=frame_format, jpeg_quality=100)
        dv.build_shards(dv.read_folder(synthetic_videos), tmp_path / frame_format, spec=spec, num_shards=2)
        clips[frame_format], _ = epoch(dv.make_dataset(tmp_path / frame_format, "train", dv.ClipSpec(crop_size_px=50)))
    grey = {frame_format: pixels.mean(axis=-1) for frame_format, pixels in clips.items()}
    assert np.abs(grey["raw"] - grey["jpeg"]).mean() < 4  # a JPEG file halves the colours' resolution
    assert np.abs(clips["raw"].mean(axis=(1, 2, 3)) - clips["jpeg"].mean(axis=(1, 2, 3))).max() < 2


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("time_jitter", 1),
        ("mixup_alpha", -1),
        ("colour_jitter", 1),
        ("first_step", -1),
        ("first_step", 2),
        ("seed", -1),
        ("first_epoch", -1),
        ("max_bad_fraction", 1),
    ],
)
def test_options_outside_their_range(small_shards, argument, value):
    with pytest.raises(ConfigError, match=f"{argument} must be"):
        dv.make_dataset(small_shards, "train", CLIP, training=True, **{argument: value})
