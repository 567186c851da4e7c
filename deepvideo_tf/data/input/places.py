"""Batches of a training epoch by the places of their records, so that another machine can read them."""

import array
import itertools
from collections.abc import Iterator

import tensorflow as tf

from deepvideo_tf.config import ClipSpec
from deepvideo_tf.data.input.augment import Augmentation
from deepvideo_tf.data.input.clips import ClipDecoder
from deepvideo_tf.data.input.pipeline import training_batches
from deepvideo_tf.data.input.reader import DEFAULT_MAX_BAD_FRACTION, INTERLEAVED_SHARDS, RecordReader
from deepvideo_tf.data.shards.manifest import Manifest, read_manifest
from deepvideo_tf.storage.paths import PathLike

RECORD_BUFFER_BYTES = 256 << 10  # TensorFlow's default


class TrainingPlaces:
    """Where the clips of each training epoch are stored, in the order of `make_dataset(training=True)`.

    Damaged records are handled in the same way. A shard is read and its checksums are verified when it is first needed;
    afterwards the offsets of its undamaged records are known.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        seed: seed of the order.
        max_bad_fraction: fraction of the records that may be damaged.

    Raises:
        ShardError: the shards are missing, unfinished or damaged.
    """

    def __init__(
        self, shards_dir: PathLike, split: str, *, seed: int, max_bad_fraction: float = DEFAULT_MAX_BAD_FRACTION
    ) -> None:
        self._reader = RecordReader(read_manifest(shards_dir, split), shards_dir, max_bad_fraction)
        self._seed = seed
        self._offsets: dict[str, array.array[int]] = {}

    def batches(self, epoch: int, first_step: int, batch_size: int) -> Iterator[list[tuple[str, int]]]:
        """Yield the (path, offset in bytes) of the clips of each step from `first_step` on; the last may have fewer."""
        places = self._reader.shuffled_items(self._places_in, self._seed, epoch)
        places = itertools.islice(places, first_step * batch_size, None)
        while batch := list(itertools.islice(places, batch_size)):
            yield batch

    def _places_in(self, path: str) -> Iterator[tuple[str, int]]:
        if path in self._offsets:
            yield from ((path, offset) for offset in self._offsets[path])
            return
        offsets = array.array("q")
        for offset, _ in self._reader.read_shard(path):
            offsets.append(offset)
            yield path, offset
        self._offsets[path] = offsets


def read_training_batch(
    paths: tf.Tensor,
    offsets: tf.Tensor,
    epoch: tf.Tensor,
    step: tf.Tensor,
    manifest: Manifest,
    clip: ClipSpec,
    *,
    batch_size: int,
    seed: int,
    multi_label: bool = False,
    **augmentation: float,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Read one batch of a training epoch in a graph: the same clips that `make_dataset` gives at this step.

    Args:
        paths: string `[clip]`, paths of shards; TensorFlow verifies the checksums.
        offsets: int64 `[clip]`, where the records begin, from `TrainingPlaces`.
        epoch: int64 scalar, number of the epoch.
        step: int64 scalar, number of the batch within the epoch.
        manifest: manifest of the shards.
        clip: the model's clip.
        batch_size: clips per batch; the last batch of an epoch may be smaller.
        seed: as in `make_dataset`.
        multi_label: as in `make_dataset`.
        **augmentation: fields of `Augmentation`.

    Returns:
        Clips, uint8 `[clip, time, height, width, 3]`, and targets, float32 `[clip, class]`.
    """

    def record_at(path: tf.Tensor, offset: tf.Tensor) -> tf.data.Dataset:
        variant = tf.raw_ops.TFRecordDatasetV2(
            filenames=[path], compression_type="", buffer_size=RECORD_BUFFER_BYTES, byte_offsets=[offset]
        )
        return tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string)).take(1)

    encoded = tf.data.Dataset.from_tensor_slices((paths, offsets)).interleave(
        record_at, cycle_length=INTERLEAVED_SHARDS, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    batches = training_batches(
        encoded.enumerate(step * batch_size),
        ClipDecoder(manifest, clip, multi_label),
        Augmentation(**augmentation),
        batch_size=batch_size,
        seed=seed,
        epoch=epoch,
        first_step=step,
    )
    return batches.get_single_element()
