"""Encoded records of shards: in order or shuffled, without the damaged ones.

Records are read and shuffled as Python bytes, which are passed on without copying. TensorFlow gets them in blocks of
some megabytes.
"""

import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
import tensorflow as tf

from deepvideo_tf.data.shards import records
from deepvideo_tf.data.shards.manifest import Manifest, read_manifest
from deepvideo_tf.errors import ShardError
from deepvideo_tf.storage.paths import PathLike, to_path

logger = logging.getLogger(__name__)

INTERLEAVED_SHARDS = 16
SHUFFLED_RECORDS, SHUFFLED_BYTES = 512, 64 << 20  # maximum of one shuffled block
BLOCK_BYTES = 4 << 20
DEFAULT_MAX_BAD_FRACTION = 0.01

Item = TypeVar("Item")


class RecordReader:
    """Reads the shards of a split; damaged records are skipped, reported once, and counted.

    Args:
        manifest: manifest of the shards.
        shards_dir: the folder of shards.
        max_bad_fraction: fraction of the records that may be damaged.
    """

    def __init__(self, manifest: Manifest, shards_dir: PathLike, max_bad_fraction: float) -> None:
        self.num_records = manifest.records
        self._paths = [str(to_path(shards_dir) / shard["name"]) for shard in manifest.shards]
        self._records_of = dict(zip(self._paths, (shard["records"] for shard in manifest.shards), strict=True))
        mean_bytes = sum(shard["bytes"] for shard in manifest.shards) / max(1, manifest.records)
        self._shuffled = max(16, min(SHUFFLED_RECORDS, int(SHUFFLED_BYTES / mean_bytes)))
        self._max_bad = max_bad_fraction * manifest.records
        self._lost: dict[str, int] = {}

    def in_order(self, *, replace_damaged: bool) -> Iterator[bytes]:
        """Yield all records in the order of the shards; optionally the first ones again in place of damaged ones."""

        def once() -> Iterator[bytes]:
            return itertools.chain.from_iterable(map(self._records_in, self._paths))

        yield from itertools.islice(_repeated(once), self.num_records) if replace_damaged else once()

    def shuffled(self, seed: int, epoch: int, worker: tuple[int, int] = (0, 1)) -> Iterator[bytes]:
        """Yield the records of an epoch, or of one worker's (number, how many) share of it.

        The order is a function of the arguments; all shares have `num_records // how many` records.
        """
        return self.shuffled_items(self._records_in, seed, epoch, worker)

    def shuffled_items(
        self, read_shard: Callable[[str], Iterator[Item]], seed: int, epoch: int, worker: tuple[int, int] = (0, 1)
    ) -> Iterator[Item]:
        """Yield one item per record in the order of `shuffled`; `read_shard` yields those of a shard, given a path."""
        number, workers = worker
        rng = np.random.default_rng([seed, epoch])
        paths = [self._paths[index] for index in rng.permutation(len(self._paths))][number::workers]
        # Other records are repeated in place of damaged ones, and where the shards do not divide evenly by the workers.
        repeated = _repeated(lambda: _interleaved(read_shard, paths))
        stream = itertools.islice(repeated, self.num_records // workers)
        while block := list(itertools.islice(stream, self._shuffled)):
            yield from (block[index] for index in rng.permutation(len(block)))

    def read_shard(self, path: str) -> Iterator[tuple[int, bytes]]:
        """Yield (offset in bytes, record) for each undamaged record of a shard; ShardError if too many are damaged."""
        count = 0
        damages: list[tuple[int, str]] = []
        for offset, record in records.read_records(path, lambda *damage: damages.append(damage)):
            count += 1
            yield offset, record
        missing = self._records_of[path] - count
        if missing:
            self._count_lost(path, missing, damages)

    def _records_in(self, path: str) -> Iterator[bytes]:
        return (record for _, record in self.read_shard(path))

    def _count_lost(self, path: str, missing: int, damages: list[tuple[int, str]]) -> None:
        if path not in self._lost:
            self._lost[path] = missing
            for offset, problem in damages:
                logger.warning("skipped damage in %s at byte %d: %s", path, offset, problem)
            logger.warning("%d damaged records of %d skipped so far", sum(self._lost.values()), self.num_records)
        if sum(self._lost.values()) > self._max_bad:
            raise ShardError(f"more than {self._max_bad:g} of {self.num_records} records are damaged")


def _interleaved(read_shard: Callable[[str], Iterator[Item]], paths: Iterable[str]) -> Iterator[Item]:
    """Yield one item of each of several shards in turn, so that a block mixes them."""
    waiting = iter(paths)
    streams = deque(read_shard(path) for path in itertools.islice(waiting, INTERLEAVED_SHARDS))
    while streams:
        stream = streams.popleft()
        item = next(stream, None)
        if item is not None:
            yield item
            streams.append(stream)
        else:
            streams.extend(read_shard(path) for path in itertools.islice(waiting, 1))


def _repeated(once: Callable[[], Iterator[Item]]) -> Iterator[Item]:
    """Yield the items of `once()` again and again."""
    while True:
        is_empty = True
        for item in once():
            is_empty = False
            yield item
        if is_empty:
            raise ShardError("no undamaged record in any shard of this worker")


def to_dataset(read: Callable[..., Iterator[bytes]], *arguments: tf.Tensor) -> tf.data.Dataset:
    """Return a dataset of the records, string scalars, that `read` yields, given the arguments as NumPy values."""

    def blocks(*values: np.ndarray) -> Iterator[list[bytes]]:
        """Yield lists of records: TensorFlow calls Python once for each list."""
        block: list[bytes] = []
        size = 0
        for record in read(*values):
            block.append(record)
            size += len(record)
            if size > BLOCK_BYTES:
                yield block
                block, size = [], 0
        if block:
            yield block

    signature = tf.TensorSpec([None], tf.string)
    return tf.data.Dataset.from_generator(blocks, output_signature=signature, args=arguments).unbatch()


def record_names(
    shards_dir: PathLike,
    split: str,
    *,
    seed: int,
    epoch: int | None,
    rows: Iterable[int],
    worker: tuple[int, int] = (0, 1),
    max_bad_fraction: float = DEFAULT_MAX_BAD_FRACTION,
) -> list[str]:
    """Name the clips at some positions of a training epoch.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        seed: as in `make_dataset`.
        epoch: number of the epoch; None for the order of the shards.
        rows: positions in the epoch, counted in clips from its beginning.
        worker: as in `make_dataset`.
        max_bad_fraction: fraction of the records that may be damaged.

    Returns:
        Video id and number of each clip, in the order of `rows`.

    Raises:
        ShardError: the shards are missing, unfinished or damaged.
    """
    reader = RecordReader(read_manifest(shards_dir, split), shards_dir, max_bad_fraction)
    rows = list(rows)
    missing, found = set(rows), {}
    in_turn = reader.in_order(replace_damaged=True) if epoch is None else reader.shuffled(seed, epoch, worker)
    for row, record in enumerate(in_turn):
        if row in missing:
            data = records.record_to_dict(record)
            found[row] = f"{data['video_id']} clip {data['clip_index']}"
            missing.remove(row)
        if not missing:
            break
    return [found[row] for row in rows]
