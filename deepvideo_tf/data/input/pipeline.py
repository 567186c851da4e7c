"""From shards to batches with tf.data.

The phases are: read, shuffle (records still encoded), choose the frames, decode only those and of those only the crop,
batch. Everything random is a function of (seed, epoch, position in the epoch).
"""

import array
import contextlib
import itertools
import logging
from collections import deque
from dataclasses import replace

import numpy as np
import tensorflow as tf

from deepvideo_tf.config import ClipSpec, check_int, check_number
from deepvideo_tf.data.input import augment
from deepvideo_tf.data.sampling import MAX_VIEWS, centred_frame_start, view_boxes
from deepvideo_tf.data.shards import records
from deepvideo_tf.data.shards.manifest import Manifest, read_manifest
from deepvideo_tf.data.shards.verify import verify_shards
from deepvideo_tf.errors import ConfigError, ShardError
from deepvideo_tf.storage.paths import to_path

logger = logging.getLogger(__name__)

INTERLEAVED_SHARDS = 16
SHUFFLED_RECORDS, SHUFFLED_BYTES = 512, 64 << 20  # at most, shuffled at once
BLOCK_BYTES = 4 << 20
RECORD_BUFFER_BYTES = 256 << 10  # TensorFlow's default
DEFAULT_MAX_BAD_FRACTION = 0.01


def make_dataset(
    shards_dir,
    split,
    clip: ClipSpec,
    *,
    batch_size=32,
    training=False,
    seed=0,
    first_epoch=0,
    first_step=0,
    worker=(0, 1),
    colour_jitter=0.0,
    time_jitter=0.0,
    mixup_alpha=0.0,
    multi_label=False,
    max_bad_fraction=DEFAULT_MAX_BAD_FRACTION,
):
    """A dataset of (clips, targets) batches for `model.fit`, `model.evaluate` and `model.predict`.

    In training each pass over the dataset is the next epoch: it sees one clip out of every stored clip, in another
    order, at another place in time, with another crop and mirroring (section 3.3). Its state is (epoch, step): a
    dataset made with these gives the batches that another one would go on with. Otherwise the order is that of the
    shards, and the clip is the middle one in time and space.

    A damaged record is skipped with a warning that names its place; a shard of another size is refused. The first
    records of the epoch, seen once more, stand in for damaged ones, so that every epoch has the same number of steps.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        clip: what the model sees.
        batch_size: clips in a batch; the last batch of an epoch may be smaller.
        training: whether to shuffle and augment.
        seed: of the order and the augmentation; 0 is a seed like any other.
        first_epoch: number of the first pass; the order of an epoch is a function of seed and number.
        first_step: batches of the first pass that are left out, since they have been seen.
        worker: (number, how many): of several processes, this one's share of the shards. In training it is another one
            each epoch, all get equally many clips, and there must be a shard for each at least.
        colour_jitter: in training, how far saturation, contrast and brightness are changed, at least 0 and below 1.
        time_jitter: in training, by what part the distance of the frames is changed, at least 0 and below 1.
        mixup_alpha: in training, above 0 mixes each clip with another of its batch, and their targets, in a proportion
            drawn from Beta(alpha, alpha).
        multi_label: whether the target of each of a clip's labels is 1, for a loss that judges every class by itself,
            instead of 1 shared out equally among them.
        max_bad_fraction: the part of the records that may be damaged, at least 0 and below 1; above it reading fails.

    Returns:
        `tf.data.Dataset` of known length, except where `first_step` is given. Clips are uint8
        `[batch, time, height, width, 3]`, raw pixels. Targets are float32 `[batch, class]`.

    Raises:
        ShardError: the shards are missing, unfinished or damaged.
        ConfigError: an argument is outside its range, or the shards cannot give such clips.
    """
    check_number("colour_jitter", colour_jitter, least=0, below=1)
    check_number("time_jitter", time_jitter, least=0, below=1)
    check_number("mixup_alpha", mixup_alpha, least=0)
    check_int("seed", seed, 0, 2**31 - 1)
    check_int("first_epoch", first_epoch, 0)
    manifest = _checked_manifest(shards_dir, split, clip, batch_size, max_bad_fraction)
    if not isinstance(worker, tuple) or len(worker) != 2:
        raise ConfigError(f"worker must be (number, how many). Received: {worker!r}")
    number, workers = worker
    check_int("worker must be (number, how many): how many", workers, 1, len(manifest.shards) if training else None)
    check_int("worker must be (number, how many): number", number, 0, workers - 1)
    if not training:
        return _validation_batches(manifest, shards_dir, clip, batch_size, worker, multi_label, max_bad_fraction)
    steps = -(-(manifest.records // workers) // batch_size)
    check_int("first_step", first_step, 0, steps - 1)
    reader = _Reader(manifest, shards_dir, max_bad_fraction)

    def one_epoch(epoch, skipped_steps):
        encoded = reader.shuffled(seed, epoch, worker).enumerate().skip(skipped_steps * batch_size)
        return _training_batches(
            encoded,
            manifest,
            clip,
            batch_size=batch_size,
            seed=seed,
            epoch=epoch,
            first_step=skipped_steps,
            colour_jitter=colour_jitter,
            time_jitter=time_jitter,
            mixup_alpha=mixup_alpha,
            multi_label=multi_label,
            worker=worker,
        )

    next_epoch = tf.Variable(first_epoch, dtype=tf.int64, trainable=False)
    # Every new iterator takes the next number; fit makes one an epoch.
    epoch = tf.data.Dataset.range(1).map(lambda _: next_epoch.assign_add(1) - 1)
    batches = epoch.flat_map(
        lambda epoch: one_epoch(epoch, tf.where(epoch == first_epoch, tf.constant(first_step, tf.int64), 0))
    )
    if first_step == 0:  # a pass that begins in the middle has another length than those after it
        batches = batches.apply(tf.data.experimental.assert_cardinality(steps))
    return batches.prefetch(2)


def _validation_batches(manifest, shards_dir, clip, batch_size, worker, multi_label, max_bad_fraction):
    number, workers = worker
    shards = manifest.shards[number::workers]
    records = sum(shard["records"] for shard in shards)
    reader = _Reader(replace(manifest, shards=shards), shards_dir, max_bad_fraction)
    clips = _evaluation_clips(reader.in_order(stand_in=True), manifest, clip, num_views=1, multi_label=multi_label)
    batches = clips.map(lambda views, target, video_id: (views[0], target)).batch(batch_size)
    return batches.apply(tf.data.experimental.assert_cardinality(-(-records // batch_size))).prefetch(2)


class TrainingPlaces:
    """Where the clips of each training epoch lie: what `make_dataset(training=True)` reads, for others to read.

    The order is the same, and so is what happens to damaged records. A shard is read, and its checksums are looked at,
    the first time that it is come by; afterwards the places of its whole records are known.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        seed: of the order.
        max_bad_fraction: the part of the records that may be damaged.

    Raises:
        ShardError: the shards are missing, unfinished or damaged.
    """

    def __init__(self, shards_dir, split, *, seed, max_bad_fraction=DEFAULT_MAX_BAD_FRACTION):
        self._reader = _PlaceReader(read_manifest(shards_dir, split), shards_dir, max_bad_fraction)
        self._seed = seed

    def batches(self, epoch, first_step, batch_size):
        """Yields the steps of an epoch: lists of (path, offset in bytes), one for each clip of the batch.

        Args:
            epoch: number of the epoch.
            first_step: batches that are left out, since they have been seen.
            batch_size: clips in a batch; the last one may be smaller.

        Yields:
            List of (str, int).
        """
        places = self._reader.shuffled_records(self._seed, epoch, 0, 1)
        places = itertools.islice(places, first_step * batch_size, None)
        while batch := list(itertools.islice(places, batch_size)):
            yield batch


def read_training_batch(paths, offsets, epoch, step, manifest, clip, *, batch_size, seed, **augmentation):
    """Reads one batch of a training epoch, in a graph: the very clips that `make_dataset` gives there.

    Args:
        paths: string `[clip]`, of the shards; a TFRecord's own checksums are looked at.
        offsets: int64 `[clip]`, where in them the records begin, from `TrainingPlaces`.
        epoch: int64 scalar, number of the epoch.
        step: int64 scalar, number of the batch within the epoch.
        manifest: `Manifest` of the shards.
        clip: what the model sees.
        batch_size: clips in a batch; the last one of an epoch may have fewer.
        seed: as `make_dataset` has it.
        **augmentation: `colour_jitter`, `time_jitter`, `mixup_alpha` and `multi_label`, as `make_dataset` has them.

    Returns:
        Clips, uint8 `[clip, time, height, width, 3]`, and targets, float32 `[clip, class]`.
    """
    string = tf.TensorSpec([], tf.string)

    def record_at(path, offset):
        variant = tf.raw_ops.TFRecordDatasetV2(
            filenames=[path], compression_type="", buffer_size=RECORD_BUFFER_BYTES, byte_offsets=[offset]
        )
        return tf.data.experimental.from_variant(variant, string).take(1)

    encoded = tf.data.Dataset.from_tensor_slices((paths, offsets)).interleave(
        record_at, cycle_length=INTERLEAVED_SHARDS, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    batches = _training_batches(
        encoded.enumerate(step * batch_size),
        manifest,
        clip,
        batch_size=batch_size,
        seed=seed,
        epoch=epoch,
        first_step=step,
        **augmentation,
    )
    return batches.get_single_element()


def make_evaluation_dataset(
    shards_dir, split, clip: ClipSpec, *, batch_size=8, num_views=4, max_bad_fraction=DEFAULT_MAX_BAD_FRACTION
):
    """A dataset of every stored clip in several views, for the paper's test protocol (section 4.1).

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        clip: what the model sees.
        batch_size: stored clips in a batch.
        num_views: different crops and mirrorings of each clip, 1 to 5; 4 in the paper.
        max_bad_fraction: the part of the records that may be damaged, and are skipped with a warning.

    Returns:
        `tf.data.Dataset` of (views, targets, video ids): uint8 `[batch, view, time, height, width, 3]`, float32
        `[batch, class]` and string `[batch]`. Every second view is mirrored, if `clip.flip`.

    Raises:
        ShardError: the shards are missing, unfinished or damaged.
        ConfigError: an argument is outside its range, or the shards cannot give such clips.
    """
    manifest = _checked_manifest(shards_dir, split, clip, batch_size, max_bad_fraction)
    check_int("num_views", num_views, 1, MAX_VIEWS)
    encoded = _Reader(manifest, shards_dir, max_bad_fraction).in_order(stand_in=False)
    return _evaluation_clips(encoded, manifest, clip, num_views).batch(batch_size).prefetch(2)


def record_names(shards_dir, split, *, seed, epoch, rows, worker=(0, 1), max_bad_fraction=DEFAULT_MAX_BAD_FRACTION):
    """Names the clips at some places of a training epoch.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        seed: as `make_dataset` has it.
        epoch: number of the epoch; None for the order of the shards.
        rows: places in the epoch, counted in clips from its beginning.
        worker: as `make_dataset` has it.
        max_bad_fraction: the part of the records that may be damaged.

    Returns:
        List of texts, video id and number of the clip, in the order of `rows`.

    Raises:
        ShardError: the shards are missing, unfinished or damaged.
    """
    reader = _Reader(read_manifest(shards_dir, split), shards_dir, max_bad_fraction)
    wanted, found = set(rows), {}
    in_turn = reader.whole_records() if epoch is None else reader.shuffled_records(seed, epoch, *worker)
    for row, record in enumerate(in_turn):
        if row in wanted:
            data = records.record_to_dict(record)
            found[row] = f"{data['video_id']} clip {data['clip_index']}"
        if len(found) == len(wanted):
            break
    return [found[row] for row in rows]


def clips_by_class(shards_dir, split, *, max_bad_fraction=DEFAULT_MAX_BAD_FRACTION):
    """Counts the clips of each class; one with several labels counts for each. Reads all shards once.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        max_bad_fraction: the part of the records that may be damaged.

    Returns:
        int64 array `[class]`.

    Raises:
        ShardError: the shards are missing, unfinished or damaged.
    """
    manifest = read_manifest(shards_dir, split)
    encoded = _Reader(manifest, shards_dir, max_bad_fraction).in_order(stand_in=False)
    hot = encoded.map(lambda record: tf.cast(_target(records.parse_record(record), manifest, True), tf.int64))
    return hot.reduce(tf.zeros(len(manifest.classes), tf.int64), tf.add).numpy()


@contextlib.contextmanager
def naming_damage(shards_dir, *splits):
    """Names the damaged shard where reading one fails, which TensorFlow's message does not.

    Args:
        shards_dir: the folder of shards.
        *splits: the splits that are read.

    Yields:
        None; the reading happens inside the `with`.

    Raises:
        ShardError: reading failed, and a shard is not what its manifest says.
    """
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError, tf.errors.UnknownError):
        for problem in (problem for split in splits for problem in verify_shards(shards_dir, split)):
            place = "" if problem["offset"] is None else f" at byte {problem['offset']}"
            raise ShardError(f"{problem['file']}: damaged{place}: {problem['problem']}") from None
        raise


def _checked_manifest(shards_dir, split, clip, batch_size, max_bad_fraction):
    check_int("batch_size", batch_size, 1)
    check_number("max_bad_fraction", max_bad_fraction, least=0, below=1)
    manifest = read_manifest(shards_dir, split)
    check_clip(manifest, clip, shards_dir)
    return manifest


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


class _Reader:
    """Reads the shards of a split; damaged records are passed over, told of once, and counted.

    Records are read and shuffled as Python's bytes, which are passed on without being copied; TensorFlow gets them some
    megabytes at a time.

    Args:
        manifest: of the shards.
        shards_dir: the folder of shards.
        max_bad_fraction: the part of the records that may be damaged.
    """

    def __init__(self, manifest, shards_dir, max_bad_fraction):
        self.records = manifest.records
        self._paths = [str(to_path(shards_dir) / shard["name"]) for shard in manifest.shards]
        self._records_of = dict(zip(self._paths, (shard["records"] for shard in manifest.shards), strict=True))
        mean_bytes = sum(shard["bytes"] for shard in manifest.shards) / max(1, manifest.records)
        self._shuffled = max(16, min(SHUFFLED_RECORDS, int(SHUFFLED_BYTES / mean_bytes)))
        self._max_bad = max_bad_fraction * manifest.records
        self._lost: dict = {}

    def in_order(self, *, stand_in):
        """A dataset of all encoded records, string scalars, in the order of the shards.

        Args:
            stand_in: whether other records stand in for damaged ones, or these are left out.

        Returns:
            `tf.data.Dataset` of strings, scalars.
        """
        return _from_blocks(lambda: _in_blocks(self.whole_records(stand_in=stand_in)))

    def whole_records(self, *, stand_in=True):
        """Yields what `in_order` holds, as bytes."""

        def once():
            return itertools.chain.from_iterable(map(self._whole_records, self._paths))

        return itertools.islice(_again_and_again(once), self.records) if stand_in else once()

    def shuffled(self, seed, epoch, worker):
        """A dataset of an epoch's encoded records, string scalars, in an order that is a function of the arguments.

        Args:
            seed: int.
            epoch: int64 scalar.
            worker: (number, how many).

        Returns:
            `tf.data.Dataset` of strings, scalars.
        """
        return _from_blocks(lambda epoch: _in_blocks(self.shuffled_records(seed, int(epoch), *worker)), epoch)

    def shuffled_records(self, seed, epoch, number, workers):
        """Yields what `shuffled` holds, as bytes."""
        rng = np.random.default_rng([seed, epoch])
        paths = [self._paths[index] for index in rng.permutation(len(self._paths))][number::workers]
        # Damaged records, and shards that do not go up evenly into workers, are made up for by seeing others again.
        again = _again_and_again(lambda: self._in_turn(paths))
        stream = itertools.islice(again, self.records // workers)
        while block := list(itertools.islice(stream, self._shuffled)):
            yield from (block[index] for index in rng.permutation(len(block)))

    def _in_turn(self, paths):
        """Yields one record of each of several shards after the other, so that a block mixes them."""
        waiting = iter(paths)
        streams = deque(self._whole_records(path) for path in itertools.islice(waiting, INTERLEAVED_SHARDS))
        while streams:
            stream = streams.popleft()
            record = next(stream, None)
            if record is not None:
                yield record
                streams.append(stream)
            else:
                streams.extend(self._whole_records(path) for path in itertools.islice(waiting, 1))

    def _whole_records(self, path):
        return (record for _, record in self._read(path))

    def _read(self, path):
        """Yields offset and record, of the whole ones of a shard."""
        count, damages = 0, []
        for offset, record in records.read_records(path, lambda *damage: damages.append(damage)):
            count += 1
            yield offset, record
        missing = self._records_of[path] - count
        if missing:
            self._lose(path, missing, damages)

    def _lose(self, path, missing, damages):
        if path not in self._lost:
            self._lost[path] = missing
            for offset, problem in damages:
                logger.warning("skipped damage in %s at byte %d: %s", path, offset, problem)
            logger.warning("%d damaged records of %d skipped so far", sum(self._lost.values()), self.records)
        if sum(self._lost.values()) > self._max_bad:
            raise ShardError(f"more than {self._max_bad:g} of {self.records} records are damaged")


class _PlaceReader(_Reader):
    """Yields the path and the offset of records in place of the records themselves."""

    def __init__(self, manifest, shards_dir, max_bad_fraction):
        super().__init__(manifest, shards_dir, max_bad_fraction)
        self._offsets = {}

    def _whole_records(self, path):
        known = self._offsets.get(path)
        if known is not None:
            yield from ((path, offset) for offset in known)
            return
        offsets = array.array("q")
        for offset, _ in self._read(path):
            offsets.append(offset)
            yield path, offset
        self._offsets[path] = offsets


def _again_and_again(once):
    """Yields the records of `once()` over and over."""
    while True:
        record = None
        for record in once():
            yield record
        if record is None:
            raise ShardError("no whole record in any shard of this worker")


def _in_blocks(stream):
    """Yields lists of records of some megabytes: TensorFlow calls Python once for each."""
    block, size = [], 0
    for record in stream:
        block.append(record)
        size += len(record)
        if size > BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


def _from_blocks(blocks, *arguments):
    signature = tf.TensorSpec([None], tf.string)
    return tf.data.Dataset.from_generator(blocks, output_signature=signature, args=arguments).unbatch()


def _training_batches(
    encoded,
    manifest,
    clip,
    *,
    batch_size,
    seed,
    epoch,
    first_step,
    colour_jitter,
    time_jitter,
    mixup_alpha,
    multi_label,
    worker=(0, 1),
):
    """Batches of (clips, targets) out of (position in the epoch, record): what `make_dataset` does to an epoch."""
    number, workers = worker  # which do not crop alike what they see at the same place of the epoch
    seeds = tf.random.fold_in(tf.constant([seed, 0], tf.int64), epoch)
    clips = encoded.map(
        lambda position, record: _training_clip(
            record,
            manifest,
            clip,
            tf.random.fold_in(tf.random.fold_in(seeds, 2), position * workers + number),
            colour_jitter,
            time_jitter,
            multi_label,
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    batches = clips.batch(batch_size)
    if not mixup_alpha:
        return batches
    return batches.enumerate(first_step).map(
        lambda step, batch: augment.mix_up(
            tf.random.fold_in(tf.random.fold_in(seeds, 3), step * workers + number), *batch, mixup_alpha
        )
    )


def _training_clip(record, manifest, clip, seed, colour_jitter, time_jitter, multi_label):
    parsed = records.parse_record(record)
    spec = manifest.spec
    if time_jitter:
        numbers = augment.jittered_frames(tf.random.fold_in(seed, 0), spec.clip_frames, clip, time_jitter)
    else:
        start = augment.random_frame_start(tf.random.fold_in(seed, 0), spec.clip_frames, clip.span)
        numbers = start + clip.frame_stride * tf.range(clip.num_frames)
    view = augment.random_view(tf.random.fold_in(seed, 1), spec.frame_size_px, clip)
    pixels = _decode(parsed[records.FRAMES], numbers, view, clip, spec)
    if colour_jitter:
        pixels = augment.jitter_colours(tf.random.fold_in(seed, 2), pixels, colour_jitter)
    return pixels, _target(parsed, manifest, multi_label)


def _evaluation_clips(encoded, manifest, clip, num_views, multi_label=False):
    return encoded.map(
        lambda record: _evaluation_clip(record, manifest, clip, num_views, multi_label),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def _evaluation_clip(record, manifest, clip, num_views, multi_label):
    parsed = records.parse_record(record)
    start = centred_frame_start(manifest.spec.clip_frames, clip.span)
    boxes = view_boxes(manifest.spec.frame_size_px, clip.crop_size_px, num_views, clip.flip)
    numbers = start + clip.frame_stride * tf.range(clip.num_frames)
    views = [
        _decode(parsed[records.FRAMES], numbers, tf.constant([int(value) for value in box]), clip, manifest.spec)
        for box in boxes
    ]
    return tf.stack(views), _target(parsed, manifest, multi_label), parsed[records.VIDEO_ID]


def _decode(frames, numbers, view, clip, spec):
    """uint8 `[time, height, width, 3]`: only the chosen frames are decoded, and of those only the crop."""
    size_px = clip.crop_size_px
    chosen = tf.ensure_shape(tf.gather(frames, numbers), [clip.num_frames])
    if spec.frame_format == "raw":
        shape = [clip.num_frames, spec.frame_size_px, spec.frame_size_px, 3]
        whole = tf.reshape(tf.io.decode_raw(chosen, tf.uint8), shape)
        pixels = whole[:, view[0] : view[0] + size_px, view[1] : view[1] + size_px]
    else:
        window = tf.stack([view[0], view[1], size_px, size_px])
        images = [tf.image.decode_and_crop_jpeg(frame, window, channels=3) for frame in tf.unstack(chosen)]
        pixels = tf.stack(images)
    pixels = tf.ensure_shape(pixels, [clip.num_frames, size_px, size_px, 3])
    return tf.cond(view[2] == 1, lambda: _mirrored(pixels), lambda: pixels)


def _mirrored(pixels):
    """As rows of one tall picture, which TensorFlow reverses five times as fast."""
    time, height, width, channels = pixels.shape
    rows = tf.reshape(pixels, [time * height, width, channels])
    return tf.reshape(tf.reverse(rows, axis=[1]), [time, height, width, channels])


def _target(parsed, manifest, multi_label):
    """float32 `[class]`: 1 for each label, or 1 shared out equally among them."""
    hot = tf.reduce_max(tf.one_hot(parsed[records.LABELS], len(manifest.classes)), axis=0)
    return hot if multi_label else hot / tf.reduce_sum(hot)
