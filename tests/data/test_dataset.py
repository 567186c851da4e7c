import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.annotations import Annotations, LabelledVideo
from deepvideo_tf.data.dataset import make_evaluation_dataset
from deepvideo_tf.data.shards import read_manifest
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
    from tests.data.test_decode import write_video

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
