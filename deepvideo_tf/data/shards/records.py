"""One stored clip as a `tf.train.SequenceExample`: the keys, writing, reading and parsing, in one place."""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

import google_crc32c
import tensorflow as tf

from deepvideo_tf.data.video.decode import DecodedClip
from deepvideo_tf.storage.paths import PathLike, to_path

VIDEO_ID = "video_id"
LABELS = "labels"
CLIP_INDEX = "clip_index"
START_S = "start_s"
FRAME_RATE_FPS = "frame_rate_fps"
FRAMES = "frames"


def clip_to_record(
    video_id: str, labels: Sequence[int], clip_index: int, clip: DecodedClip, frame_rate_fps: float
) -> bytes:
    """Serialize one clip.

    Args:
        video_id: path of the video below its root.
        labels: indices into the class names.
        clip_index: number of the clip within its video.
        clip: `DecodedClip` with frames as bytes.
        frame_rate_fps: frames per second of the clip.

    Returns:
        A serialized `tf.train.SequenceExample`, bytes.
    """

    def ints(values: Iterable[int]) -> Any:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def floats(values: Iterable[float]) -> Any:
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    def texts(values: Iterable[bytes]) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    context = {
        VIDEO_ID: texts([video_id.encode()]),
        LABELS: ints(labels),
        CLIP_INDEX: ints([clip_index]),
        START_S: floats([clip.start_s]),
        FRAME_RATE_FPS: floats([frame_rate_fps]),
    }
    frames = tf.train.FeatureList(feature=[texts([frame]) for frame in clip.frames])
    example = tf.train.SequenceExample(
        context=tf.train.Features(feature=context),
        feature_lists=tf.train.FeatureLists(feature_list={FRAMES: frames}),
    )
    # Protocol buffers promise no order of map entries unless asked; the shards' bytes must not depend on it.
    return example.SerializeToString(deterministic=True)


# A TFRecord is its length (8 bytes), a checksum of the length, the data, and a checksum of the data (4 bytes each).
_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_RESYNC_BYTES = 1 << 20


def read_records(path: PathLike, on_damage: Callable[[int, str], object]) -> Iterator[tuple[int, bytes]]:
    """Read the records of a file, and continue behind damaged ones, which TensorFlow's reader does not.

    Args:
        path: a TFRecord file.
        on_damage: called with an offset in bytes and what is wrong there, for each damaged stretch.

    Yields:
        (offset in bytes, record as bytes), whole records only.
    """
    path = to_path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        offset = 0
        while offset < size:
            length = _record_length(file.read(_HEADER.size), size - offset)
            if length is None:
                left = size - offset
                on_damage(offset, "the file ends within a record" if left < _HEADER.size else "no record begins here")
                offset = _next_record(file, offset + 1, size)
                file.seek(offset)
                continue
            record = file.read(length)
            (checksum,) = _FOOTER.unpack(file.read(_FOOTER.size))
            if checksum == _masked_crc(record):
                yield offset, record
            else:
                on_damage(offset, "the record does not match its checksum")
            offset += _HEADER.size + length + _FOOTER.size


def _record_length(header: bytes, left: int) -> int | None:
    """Return the length of the data behind a header; None unless it is the header of a record that fits into `left`."""
    if len(header) < _HEADER.size:
        return None
    length, checksum = _HEADER.unpack(header)
    fits = length <= left - _HEADER.size - _FOOTER.size
    return length if fits and checksum == _masked_crc(header[:8]) else None


def _next_record(file: IO[bytes], offset: int, size: int) -> int:
    """Return the offset of the next header at or behind `offset`, or the end of the file."""
    while offset < size:
        file.seek(offset)
        block = file.read(_RESYNC_BYTES + _HEADER.size)
        for start in range(min(len(block), _RESYNC_BYTES)):
            if _record_length(block[start : start + _HEADER.size], size - offset - start) is not None:
                return offset + start
        offset += _RESYNC_BYTES
    return size


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record_to_dict(record: bytes) -> dict[str, Any]:
    """Parse one record outside of a graph.

    Args:
        record: bytes.

    Returns:
        Dict of `video_id` (str), `labels` (list of int), `clip_index` (int), `start_s` and `frame_rate_fps` (float),
        and `frames` (list of bytes).
    """
    example = tf.train.SequenceExample.FromString(record)
    context = example.context.feature
    return {
        VIDEO_ID: context[VIDEO_ID].bytes_list.value[0].decode(),
        LABELS: list(context[LABELS].int64_list.value),
        CLIP_INDEX: context[CLIP_INDEX].int64_list.value[0],
        START_S: context[START_S].float_list.value[0],
        FRAME_RATE_FPS: context[FRAME_RATE_FPS].float_list.value[0],
        FRAMES: [frame.bytes_list.value[0] for frame in example.feature_lists.feature_list[FRAMES].feature],
    }


def parse_record(record: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parse one record in a tf.data graph; the frames stay encoded.

    Args:
        record: scalar string tensor.

    Returns:
        Dict of `video_id` (string), `labels` (int64 `[number of labels]`), `clip_index` (int64), `start_s` and
        `frame_rate_fps` (float32), and `frames` (string `[stored frames]`, JPEG files or raw pixels).
    """
    context, lists = tf.io.parse_single_sequence_example(
        record,
        context_features={
            VIDEO_ID: tf.io.FixedLenFeature([], tf.string),
            LABELS: tf.io.VarLenFeature(tf.int64),
            CLIP_INDEX: tf.io.FixedLenFeature([], tf.int64),
            START_S: tf.io.FixedLenFeature([], tf.float32),
            FRAME_RATE_FPS: tf.io.FixedLenFeature([], tf.float32),
        },
        sequence_features={FRAMES: tf.io.FixedLenSequenceFeature([], tf.string)},
    )
    return context | {LABELS: tf.sparse.to_dense(context[LABELS]), FRAMES: lists[FRAMES]}
