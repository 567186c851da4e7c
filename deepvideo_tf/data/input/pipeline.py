"""Batches from shards with tf.data.

The phases: read, shuffle (records still encoded), choose the frames, decode only those and only the crop, augment,
batch. Everything random is a function of (seed, epoch, position in the epoch).
"""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import tensorflow as tf

from deepvideo_tf.config import ClipSpec, check_int, check_number
from deepvideo_tf.data.input.augment import Augmentation, mix_up
from deepvideo_tf.data.input.clips import ClipDecoder
from deepvideo_tf.data.input.reader import DEFAULT_MAX_BAD_FRACTION, RecordReader, to_dataset
from deepvideo_tf.data.sampling import MAX_VIEWS
from deepvideo_tf.data.shards import records
from deepvideo_tf.data.shards.manifest import Manifest, read_manifest
from deepvideo_tf.data.shards.verify import verify_shards
from deepvideo_tf.errors import ConfigError, ShardError
from deepvideo_tf.storage.paths import PathLike


def make_dataset(
    shards_dir: PathLike,
    split: str,
    clip: ClipSpec,
    *,
    batch_size: int = 32,
    training: bool = False,
    seed: int = 0,
    first_epoch: int = 0,
    first_step: int = 0,
    worker: tuple[int, int] = (0, 1),
    colour_jitter: float = 0.0,
    time_jitter: float = 0.0,
    mixup_alpha: float = 0.0,
    multi_label: bool = False,
    max_bad_fraction: float = DEFAULT_MAX_BAD_FRACTION,
) -> tf.data.Dataset:
    """Make a dataset of (clips, targets) batches for `model.fit`, `model.evaluate` and `model.predict`.

    In training each pass over the dataset is the next epoch: it has one clip out of every stored clip, in another
    order, at another position in time, with another crop and mirroring (section 3.3). The state of the dataset is
    (epoch, step): a dataset made with these resumes where another one stopped. Otherwise the order is that of the
    shards, and the clip is the middle one in time and space.

    A damaged record is skipped with a warning that names its shard and offset; a shard of another size is an error. The
    first records of the epoch are repeated in place of damaged ones, so that every epoch has the same number of steps.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        clip: the model's clip.
        batch_size: clips per batch; the last batch of an epoch may be smaller.
        training: whether to shuffle and augment.
        seed: seed of the order and the augmentation; 0 is a seed like any other.
        first_epoch: number of the first pass; the order of an epoch is a function of seed and number.
        first_step: number of batches of the first pass to skip.
        worker: (number, how many): which of several processes this is, to read its share of the shards. In training the
            share changes each epoch, all shares have equally many clips, and there must be at least one shard each.
        colour_jitter: in training, how far saturation, contrast and brightness are changed, in [0, 1).
        time_jitter: in training, by which fraction the distance of the frames is changed, in [0, 1).
        mixup_alpha: in training, above 0 mixes each clip with another one of its batch, and their targets, in a
            proportion drawn from Beta(alpha, alpha).
        multi_label: whether each label of a clip gets the target 1, for a loss that evaluates every class separately,
            or they share 1 equally.
        max_bad_fraction: fraction of the records that may be damaged, in [0, 1); reading fails above it.

    Returns:
        `tf.data.Dataset` of known length, unless `first_step` is given. Clips are uint8
        `[batch, time, height, width, 3]`, raw pixels. Targets are float32 `[batch, class]`.

    Raises:
        ShardError: the shards are missing, unfinished or damaged.
        ConfigError: an argument is outside its range, or the shards cannot give such clips.
    """
    augmentation = Augmentation(colour_jitter, time_jitter, mixup_alpha)
    check_int("seed", seed, 0, 2**31 - 1)
    check_int("first_epoch", first_epoch, 0)
    manifest = _checked_manifest(shards_dir, split, clip, batch_size, max_bad_fraction)
    _check_worker(worker, len(manifest.shards) if training else None)
    decoder = ClipDecoder(manifest, clip, multi_label)
    number, workers = worker
    if not training:
        shards = manifest.shards[number::workers]
        reader = RecordReader(replace(manifest, shards=shards), shards_dir, max_bad_fraction)
        clips = _evaluation_clips(to_dataset(lambda: reader.in_order(replace_damaged=True)), decoder, num_views=1)
        batches = clips.map(lambda views, target, video_id: (views[0], target)).batch(batch_size)
        return _with_length(batches, reader.num_records, batch_size).prefetch(2)
    check_int("first_step", first_step, 0, -(-(manifest.records // workers) // batch_size) - 1)
    reader = RecordReader(manifest, shards_dir, max_bad_fraction)

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        step = tf.where(epoch == first_epoch, tf.constant(first_step, tf.int64), 0)
        encoded = to_dataset(lambda epoch: reader.shuffled(seed, int(epoch), worker), epoch)
        return training_batches(
            encoded.enumerate().skip(step * batch_size),
            decoder,
            augmentation,
            batch_size=batch_size,
            seed=seed,
            epoch=epoch,
            first_step=step,
            worker=worker,
        )

    next_epoch = tf.Variable(first_epoch, dtype=tf.int64, trainable=False)
    # Every new iterator takes the next number; fit makes one per epoch.
    epoch = tf.data.Dataset.range(1).map(lambda _: next_epoch.assign_add(1) - 1)
    batches = epoch.flat_map(one_epoch)
    if first_step == 0:  # otherwise the first pass is shorter than those after it
        batches = _with_length(batches, manifest.records // workers, batch_size)
    return batches.prefetch(2)


def training_batches(
    encoded: tf.data.Dataset,
    decoder: ClipDecoder,
    augmentation: Augmentation,
    *,
    batch_size: int,
    seed: int,
    epoch: tf.Tensor,
    first_step: tf.Tensor,
    worker: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Decode, augment and batch (position in the epoch, record) pairs, from the batch number `first_step` on.

    Returns a dataset of clips and targets, as `make_dataset` does. Workers augment differently at the same position.
    """
    number, workers = worker
    seeds = tf.random.fold_in(tf.constant([seed, 0], tf.int64), epoch)
    clip_seeds, batch_seeds = tf.random.fold_in(seeds, 2), tf.random.fold_in(seeds, 3)
    batches = encoded.map(
        lambda position, record: decoder.training_clip(
            record, tf.random.fold_in(clip_seeds, position * workers + number), augmentation
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    ).batch(batch_size)
    if not augmentation.mixup_alpha:
        return batches
    return batches.enumerate(first_step).map(
        lambda step, batch: mix_up(
            tf.random.fold_in(batch_seeds, step * workers + number), batch[0], batch[1], augmentation.mixup_alpha
        )
    )


def make_evaluation_dataset(
    shards_dir: PathLike,
    split: str,
    clip: ClipSpec,
    *,
    batch_size: int = 8,
    num_views: int = 4,
    max_bad_fraction: float = DEFAULT_MAX_BAD_FRACTION,
) -> tf.data.Dataset:
    """Make a dataset of every stored clip in several views, for the paper's test protocol (section 4.1).

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        clip: the model's clip.
        batch_size: stored clips per batch.
        num_views: different crops and mirrorings of each clip, 1 to 5; 4 in the paper.
        max_bad_fraction: fraction of the records that may be damaged; they are skipped with a warning.

    Returns:
        `tf.data.Dataset` of (views, targets, video ids): uint8 `[batch, view, time, height, width, 3]`, float32
        `[batch, class]` and string `[batch]`. Every second view is mirrored, if `clip.flip`.

    Raises:
        ShardError: the shards are missing, unfinished or damaged.
        ConfigError: an argument is outside its range, or the shards cannot give such clips.
    """
    manifest = _checked_manifest(shards_dir, split, clip, batch_size, max_bad_fraction)
    check_int("num_views", num_views, 1, MAX_VIEWS)
    reader = RecordReader(manifest, shards_dir, max_bad_fraction)
    encoded = to_dataset(lambda: reader.in_order(replace_damaged=False))
    return _evaluation_clips(encoded, ClipDecoder(manifest, clip), num_views).batch(batch_size).prefetch(2)


def _evaluation_clips(encoded: tf.data.Dataset, decoder: ClipDecoder, num_views: int) -> tf.data.Dataset:
    return encoded.map(lambda record: decoder.evaluation_clip(record, num_views), num_parallel_calls=tf.data.AUTOTUNE)


def _with_length(batches: tf.data.Dataset, num_clips: int, batch_size: int) -> tf.data.Dataset:
    return batches.apply(tf.data.experimental.assert_cardinality(-(-num_clips // batch_size)))


def clips_by_class(
    shards_dir: PathLike, split: str, *, max_bad_fraction: float = DEFAULT_MAX_BAD_FRACTION
) -> np.ndarray:
    """Count the clips of each class; a clip with several labels counts for each. Reads all shards once.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        max_bad_fraction: fraction of the records that may be damaged.

    Returns:
        int64 array `[class]`.

    Raises:
        ShardError: the shards are missing, unfinished or damaged.
    """
    manifest = read_manifest(shards_dir, split)
    reader = RecordReader(manifest, shards_dir, max_bad_fraction)
    decoder = ClipDecoder(manifest, ClipSpec(), multi_label=True)
    hot = to_dataset(lambda: reader.in_order(replace_damaged=False)).map(
        lambda record: tf.cast(decoder.target(records.parse_record(record)), tf.int64)
    )
    return hot.reduce(tf.zeros(len(manifest.classes), tf.int64), tf.add).numpy()


@contextlib.contextmanager
def naming_damage(shards_dir: PathLike, *splits: str) -> Iterator[None]:
    """Name the damaged shard if reading one fails, which TensorFlow's message does not.

    Args:
        shards_dir: the folder of shards.
        *splits: the splits that are read.

    Yields:
        None; the reading happens inside the `with`.

    Raises:
        ShardError: reading failed, and a shard differs from its manifest.
    """
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError, tf.errors.UnknownError):
        for problem in (problem for split in splits for problem in verify_shards(shards_dir, split)):
            place = "" if problem["offset"] is None else f" at byte {problem['offset']}"
            raise ShardError(f"{problem['file']}: damaged{place}: {problem['problem']}") from None
        raise


def _checked_manifest(
    shards_dir: PathLike, split: str, clip: ClipSpec, batch_size: int, max_bad_fraction: float
) -> Manifest:
    check_int("batch_size", batch_size, 1)
    check_number("max_bad_fraction", max_bad_fraction, least=0, below=1)
    manifest = read_manifest(shards_dir, split)
    check_clip(manifest, clip, shards_dir)
    return manifest


def _check_worker(worker: tuple[int, int], most: int | None) -> None:
    if not isinstance(worker, tuple) or len(worker) != 2:
        raise ConfigError(f"worker must be (number, how many). Received: {worker!r}")
    number, workers = worker
    check_int("worker must be (number, how many): how many", workers, 1, most)
    check_int("worker must be (number, how many): number", number, 0, workers - 1)


def check_clip(manifest: Manifest, clip: ClipSpec, shards_dir: PathLike) -> None:
    """Check that the stored clips can give a model's clip.

    Args:
        manifest: manifest of the shards.
        clip: the model's clip.
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
