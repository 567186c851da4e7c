"""From shards to batches with tf.data.

The phases are: read, shuffle (records still encoded), choose the frames, decode only those and of those only the crop,
batch. Everything random is a function of (seed, epoch, position in the epoch).
"""

import contextlib
import os

import tensorflow as tf

from deepvideo_tf.config import ClipSpec
from deepvideo_tf.data import augment, records
from deepvideo_tf.data.sampling import MAX_VIEWS, centred_frame_start, view_boxes
from deepvideo_tf.data.shards import Manifest, check_hashes, read_manifest
from deepvideo_tf.errors import ConfigError

INTERLEAVED_SHARDS = 16
SHUFFLED_RECORDS = 512


def make_dataset(
    shards_dir, split, clip: ClipSpec, *, batch_size=32, training=False, seed=0, first_epoch=0, colour_jitter=0.0
):
    """A dataset of (clips, targets) batches for `model.fit`, `model.evaluate` and `model.predict`.

    In training each pass over the dataset is the next epoch: it sees one clip out of every stored clip, in another
    order, at another place in time, with another crop and mirroring (section 3.3). Otherwise the order is that of the
    shards, and the clip is the middle one in time and space.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        clip: what the model sees.
        batch_size: clips in a batch; the last batch of an epoch may be smaller.
        training: whether to shuffle and augment.
        seed: of the order and the augmentation; 0 is a seed like any other.
        first_epoch: number of the first pass; the order of an epoch is a function of seed and number.
        colour_jitter: in training, how far saturation, contrast and brightness are changed, at least 0 and below 1.

    Returns:
        `tf.data.Dataset` of known length. Clips are uint8 `[batch, time, height, width, 3]`, raw pixels. Targets are
        float32 `[batch, class]`: 1 shared out equally among the labels of the clip.

    Raises:
        ShardError: the shards are missing, unfinished or damaged.
        ConfigError: an argument is outside its range, or the shards cannot give such clips.
    """
    if not 0 <= colour_jitter < 1:
        raise ConfigError(f"colour_jitter must be at least 0 and below 1. Received: {colour_jitter!r}")
    manifest = _checked_manifest(shards_dir, split, clip, batch_size)
    if training:
        clips = _training_clips(manifest, shards_dir, clip, seed, first_epoch, colour_jitter)
    else:
        clips = _evaluation_clips(manifest, shards_dir, clip, num_views=1)
        clips = clips.map(lambda views, target, video_id: (views[0], target))
    return _batched(clips, manifest, batch_size)


def make_evaluation_dataset(shards_dir, split, clip: ClipSpec, *, batch_size=8, num_views=4):
    """A dataset of every stored clip in several views, for the paper's test protocol (section 4.1).

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        clip: what the model sees.
        batch_size: stored clips in a batch.
        num_views: different crops and mirrorings of each clip, 1 to 5; 4 in the paper.

    Returns:
        `tf.data.Dataset` of (views, targets, video ids): uint8 `[batch, view, time, height, width, 3]`, float32
        `[batch, class]` and string `[batch]`. Every second view is mirrored, if `clip.flip`.

    Raises:
        ShardError: the shards are missing, unfinished or damaged.
        ConfigError: an argument is outside its range, or the shards cannot give such clips.
    """
    manifest = _checked_manifest(shards_dir, split, clip, batch_size)
    if not isinstance(num_views, int) or not 1 <= num_views <= MAX_VIEWS:
        raise ConfigError(f"num_views must be a whole number from 1 to {MAX_VIEWS}. Received: {num_views!r}")
    return _batched(_evaluation_clips(manifest, shards_dir, clip, num_views), manifest, batch_size)


@contextlib.contextmanager
def naming_damage(shards_dir, *splits):
    """Names the damaged shard where reading one fails, which TensorFlow's message does not.

    Args:
        shards_dir: the folder of shards.
        *splits: the splits that are read.

    Raises:
        ShardError: reading failed, and a shard is not what its manifest says.
    """
    try:
        yield
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError):
        for split in splits:
            check_hashes(shards_dir, split)
        raise


def _checked_manifest(shards_dir, split, clip, batch_size):
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(f"batch_size must be a whole number, 1 or more. Received: {batch_size!r}")
    manifest = read_manifest(shards_dir, split)
    check_clip(manifest, clip, shards_dir)
    return manifest


def _batched(clips, manifest, batch_size):
    clips = clips.apply(tf.data.experimental.assert_cardinality(manifest.records))
    return clips.batch(batch_size).prefetch(2)


def check_clip(manifest: Manifest, clip: ClipSpec, shards_dir):
    """Refuses a model's clip that the stored clips cannot give.

    Args:
        manifest: of the shards.
        clip: what the model sees.
        shards_dir: the folder of shards, for the message.

    Raises:
        ConfigError: the crop is larger than the frames, or the clip longer than the stored ones.
    """
    spec = manifest.spec
    if clip.crop_size_px > spec.frame_size_px:
        raise ConfigError(
            f"crop_size_px must be at most the {spec.frame_size_px} px of the frames in {shards_dir}. "
            f"Received: {clip.crop_size_px}"
        )
    if clip.span > spec.clip_frames:
        raise ConfigError(
            f"{clip.num_frames} frames {clip.frame_stride} apart span {clip.span} frames, but the clips in "
            f"{shards_dir} have {spec.clip_frames}; build the shards with clip_frames={clip.span} or more"
        )


def _shard_paths(manifest, shards_dir):
    return [os.path.join(shards_dir, shard["name"]) for shard in manifest.shards]


def _read(paths, *, shuffle):
    """Encoded records, of several shards in turn where the order does not matter."""
    files = tf.data.Dataset.from_tensor_slices(paths)
    if not shuffle:
        return tf.data.TFRecordDataset(files)
    return files.interleave(
        tf.data.TFRecordDataset,
        cycle_length=INTERLEAVED_SHARDS,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _training_clips(manifest, shards_dir, clip, seed, first_epoch, colour_jitter):
    paths = tf.constant(_shard_paths(manifest, shards_dir))
    next_epoch = tf.Variable(first_epoch, dtype=tf.int64, trainable=False)

    def one_epoch(epoch):
        # Blocks are shuffled one by one: Dataset.shuffle takes TensorFlow's global seed into account, which would make
        # the order depend on more than (seed, epoch), and fails where that seed is 0.
        epoch_seed = tf.random.fold_in(tf.constant([seed, 0], tf.int64), epoch)
        shuffled_paths = tf.random.experimental.stateless_shuffle(paths, tf.random.fold_in(epoch_seed, 0))
        shuffled = _read(shuffled_paths, shuffle=True).batch(SHUFFLED_RECORDS).enumerate()
        shuffled = shuffled.map(
            lambda position, block: tf.random.experimental.stateless_shuffle(
                block, tf.random.fold_in(tf.random.fold_in(epoch_seed, 1), position)
            )
        )
        return (
            shuffled.prefetch(1)
            .unbatch()
            .enumerate()
            .map(
                lambda position, record: _training_clip(
                    record,
                    manifest,
                    clip,
                    tf.random.fold_in(tf.random.fold_in(epoch_seed, 2), position),
                    colour_jitter,
                ),
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
        )

    # Every new iterator takes the next number; fit makes one an epoch.
    epoch = tf.data.Dataset.range(1).map(lambda _: next_epoch.assign_add(1) - 1)
    return epoch.flat_map(one_epoch)


def _training_clip(record, manifest, clip, seed, colour_jitter):
    parsed = records.parse_record(record)
    frames = parsed[records.FRAMES]
    start = augment.random_frame_start(tf.random.fold_in(seed, 0), tf.size(frames), clip.span)
    view = augment.random_view(tf.random.fold_in(seed, 1), manifest.spec.frame_size_px, clip)
    pixels = _decode(frames, start, view, clip)
    if colour_jitter:
        pixels = augment.jitter_colours(tf.random.fold_in(seed, 2), pixels, colour_jitter)
    return pixels, _target(parsed, manifest)


def _evaluation_clips(manifest, shards_dir, clip, num_views):
    return _read(_shard_paths(manifest, shards_dir), shuffle=False).map(
        lambda record: _evaluation_clip(record, manifest, clip, num_views), num_parallel_calls=tf.data.AUTOTUNE
    )


def _evaluation_clip(record, manifest, clip, num_views):
    parsed = records.parse_record(record)
    start = centred_frame_start(manifest.spec.clip_frames, clip.span)
    boxes = view_boxes(manifest.spec.frame_size_px, clip.crop_size_px, num_views, clip.flip)
    views = [_decode(parsed[records.FRAMES], start, tf.constant([int(value) for value in box]), clip) for box in boxes]
    return tf.stack(views), _target(parsed, manifest), parsed[records.VIDEO_ID]


def _decode(frames, start, view, clip):
    """uint8 `[time, height, width, 3]`: only the chosen frames are decoded, and of those only the crop."""
    size_px = clip.crop_size_px
    window = tf.stack([view[0], view[1], size_px, size_px])
    images = [
        tf.image.decode_and_crop_jpeg(frames[start + index * clip.frame_stride], window, channels=3)
        for index in range(clip.num_frames)
    ]
    pixels = tf.ensure_shape(tf.stack(images), [clip.num_frames, size_px, size_px, 3])
    return tf.where(view[2] == 1, tf.reverse(pixels, axis=[2]), pixels)


def _target(parsed, manifest):
    """float32 `[class]`: 1 shared out equally among the labels."""
    hot = tf.reduce_max(tf.one_hot(parsed[records.LABELS], len(manifest.classes)), axis=0)
    return hot / tf.reduce_sum(hot)
