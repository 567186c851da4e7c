"""Inspecting shards: statistics, sample clips as a picture, and what two splits have in common."""

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any

import numpy as np

from deepvideo_tf.config import ShardSpec
from deepvideo_tf.data.annotations import SPLITS, group_of
from deepvideo_tf.data.shards.manifest import Manifest, manifest_path, read_manifest
from deepvideo_tf.errors import ConfigError, ShardError
from deepvideo_tf.storage.paths import PathLike, to_path
from deepvideo_tf.storage.writes import staged_file

SHEET_FRAMES = 8
THUMBNAIL_PX = 96
LABEL_PX = 16
# Two frames are near-duplicates if at most this fraction of the 256 bits of their hashes differs.
MAX_HASH_DIFFERENCE = 0.1
MIN_CONTRAST = 8  # of 255: the hash of a plain frame is noise

# The halves of the coarse hash and the fine hash of a clip's middle frame.
ClipHash = tuple[tuple[int, int], int]
ClipHashes = list[tuple[str, ClipHash | None]]  # each clip's video id, and its hashes unless the frame is plain


def splits_in(shards_dir: PathLike) -> list[str]:
    """Return the splits of which a folder holds finished shards.

    Args:
        shards_dir: the folder of shards.

    Returns:
        `train`, `validation` and `test`, in this order, those that exist.

    Raises:
        ShardError: none exists.
    """
    found = [split for split in SPLITS if manifest_path(shards_dir, split).exists()]
    if not found:
        read_manifest(shards_dir, SPLITS[0])  # its error says what the folder holds instead
    return found


def statistics_of(shards_dir: PathLike, split: str) -> dict[str, Any]:
    """Count the videos and clips of a split.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.

    Returns:
        `videos`, `clips`, `bytes`, `skipped`, `clips_per_video` (minimum, median, maximum), `seconds` (the same of the
        videos' lengths, from their first frame to the end of their last clip), and `classes`: for each name its
        `videos` and `clips`; a video with several labels counts for each.

    Raises:
        ShardError: the shards are missing or damaged.
    """
    manifest = read_manifest(shards_dir, split)
    clips: Counter[str] = Counter()
    ends_s: defaultdict[str, float] = defaultdict(float)
    labels_of: dict[str, list[int]] = {}
    for record in _records(manifest, shards_dir):
        video_id = record["video_id"]
        clips[video_id] += 1
        end_s = record["start_s"] + manifest.spec.clip_frames / record["frame_rate_fps"]
        ends_s[video_id] = max(ends_s[video_id], end_s)
        labels_of[video_id] = record["labels"]
    of_class = {name: {"videos": 0, "clips": 0} for name in manifest.classes}
    for video_id, labels in labels_of.items():
        for label in labels:
            of_class[manifest.classes[label]]["videos"] += 1
            of_class[manifest.classes[label]]["clips"] += clips[video_id]
    return {
        "videos": len(clips),
        "clips": sum(clips.values()),
        "bytes": sum(shard["bytes"] for shard in manifest.shards),
        "skipped": len(manifest.skipped),
        "clips_per_video": _spread(clips.values()),
        "seconds": _spread(ends_s.values()),
        "classes": of_class,
    }


def _spread(values: Iterable[float]) -> tuple[float, float, float]:
    values = list(values)
    return min(values), statistics.median(values), max(values)


def write_contact_sheet(shards_dir: PathLike, split: str, path: PathLike, *, clips: int = 12) -> None:
    """Draw sample clips: one row per clip, its frames from left to right, its classes and video above.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        path: the PNG file to write.
        clips: number of rows; the clips are spread evenly over the classes.

    Raises:
        ShardError: the shards are missing or damaged.
        ConfigError: `clips` is not above 0, or the path does not end in `.png`.
    """
    from PIL import Image, ImageDraw

    path = to_path(path)
    if path.suffix != ".png" or clips < 1:
        raise ConfigError(f"expected a path that ends in .png and 1 clip or more. Received: {str(path)!r}, {clips!r}")
    manifest = read_manifest(shards_dir, split)
    rows = _samples(manifest, shards_dir, clips)
    height_px = THUMBNAIL_PX + LABEL_PX
    sheet = Image.new("RGB", (SHEET_FRAMES * THUMBNAIL_PX, len(rows) * height_px), "white")
    draw = ImageDraw.Draw(sheet)
    chosen = np.linspace(0, manifest.spec.clip_frames - 1, SHEET_FRAMES).round().astype(int)
    for top, record in zip(range(0, len(rows) * height_px, height_px), rows, strict=True):
        names = ", ".join(manifest.classes[label] for label in record["labels"])
        text = f"{names}   {record['video_id']}   from {record['start_s']:.2f} s"
        draw.text((2, top + 2), text, fill="black")
        for column, index in enumerate(chosen):
            frame = Image.fromarray(_pixels(record["frames"][index], manifest.spec))
            frame = frame.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)
            sheet.paste(frame, (column * THUMBNAIL_PX, top + LABEL_PX))
    with staged_file(path) as local:
        sheet.save(local, "PNG")


def _samples(manifest: Manifest, shards_dir: PathLike, count: int) -> list[dict[str, Any]]:
    """Return records of different videos and as many classes as `count` allows, by class."""
    wanted = -(-count // len(manifest.classes))
    found: defaultdict[int, dict[str, dict[str, Any]]] = defaultdict(dict)
    for record in _records(manifest, shards_dir):
        of_class = found[record["labels"][0]]
        if len(of_class) < wanted:
            of_class.setdefault(record["video_id"], record)
        if len(found) == len(manifest.classes) and all(len(some) == wanted for some in found.values()):
            break
    step = max(1, len(found) // count)
    rows = [record for label in sorted(found)[::step] for record in found[label].values()]
    return rows[:count]


def audit_splits(shards_dir: PathLike) -> list[dict[str, Any]]:
    """Find what two splits have in common, which makes test results meaningless.

    This looks for the same video, for two videos of one UCF-101 group (cut from one source video), and for videos with
    near-duplicate frames: section 4.1 found 1755 of these among the million of Sports-1M. The middle frame of each clip
    is hashed by the signs of its differences from left to right (256 bits of 16 x 16). Only frames whose coarse hashes
    (64 bits of 8 x 8) agree in one half are compared, so that the work grows with the clips and not with their pairs.

    Args:
        shards_dir: the folder of shards.

    Returns:
        Dicts of `kind` (`same video`, `same group` or `near-duplicate`), `splits` (two names), `videos` (one id of
        each) and `clips` (number of pairs of similar clips; 0 for the other kinds).

    Raises:
        ShardError: the shards are missing or damaged.
    """
    hashes = {
        split: list(_clip_hashes(read_manifest(shards_dir, split), shards_dir)) for split in splits_in(shards_dir)
    }
    return [
        {"kind": kind, "splits": pair, "videos": videos, "clips": clips}
        for pair in combinations(hashes, 2)
        for kind, videos, clips in _in_common(hashes[pair[0]], hashes[pair[1]])
    ]


def _in_common(one: ClipHashes, other: ClipHashes) -> Iterator[tuple[str, tuple[str, str], int]]:
    """Yield (kind, videos, pairs of clips) for each two videos of two splits that have something in common."""
    same = {_file_of(video_id): video_id for video_id, _ in one}
    groups = {group_of(video_id): video_id for video_id, _ in one if group_of(video_id) != video_id}
    found = set()
    for video_id in dict.fromkeys(video_id for video_id, _ in other):
        in_one = same.get(_file_of(video_id)) or groups.get(group_of(video_id))
        if in_one is not None:
            found.add((in_one, video_id))
            yield "same video" if _file_of(video_id) in same else "same group", (in_one, video_id), 0
    for videos, clips in _near_duplicates(one, other).items():
        if videos not in found and _file_of(videos[0]) != _file_of(videos[1]):
            yield "near-duplicate", videos, clips


def _file_of(video_id: str) -> str:
    return re.sub(r"#[0-9.e+]+-[0-9.e+]*$", "", video_id)  # the seconds that `LabelledVideo.video_id` adds


def _near_duplicates(one: ClipHashes, other: ClipHashes) -> Counter[tuple[str, str]]:
    """Count the pairs of similar clips for each two videos."""
    buckets: defaultdict[tuple[int, int], list[tuple[str, int]]] = defaultdict(list)
    for video_id, (coarse, fine) in ((video_id, hashes) for video_id, hashes in one if hashes is not None):
        for half in enumerate(coarse):
            buckets[half].append((video_id, fine))
    pairs: Counter[tuple[str, str]] = Counter()
    for video_id, (coarse, fine) in ((video_id, hashes) for video_id, hashes in other if hashes is not None):
        candidates = dict.fromkeys(candidate for half in enumerate(coarse) for candidate in buckets[half])
        for candidate, fine_of_candidate in candidates:
            if (fine ^ fine_of_candidate).bit_count() <= MAX_HASH_DIFFERENCE * 256:
                pairs[candidate, video_id] += 1
    return pairs


def _clip_hashes(manifest: Manifest, shards_dir: PathLike) -> Iterator[tuple[str, ClipHash | None]]:
    """Yield the video id and the hashes of each clip's middle frame, None for a plain frame."""
    for record in _records(manifest, shards_dir):
        pixels = _pixels(record["frames"][len(record["frames"]) // 2], manifest.spec).astype(np.float32).mean(axis=-1)
        is_plain = pixels.std() < MIN_CONTRAST
        hashes = None if is_plain else (divmod(_difference_hash(pixels, 8), 1 << 32), _difference_hash(pixels, 16))
        yield record["video_id"], hashes


def _difference_hash(gray: np.ndarray, size: int) -> int:
    """Return size x size bits: whether each cell of a grid is darker than its right neighbor."""
    rows = np.array_split(gray, size, axis=0)
    cells = np.array([[cell.mean() for cell in np.array_split(row, size + 1, axis=1)] for row in rows])
    return int.from_bytes(np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes(), "big")


def _pixels(frame: bytes, spec: ShardSpec) -> np.ndarray:
    """Return the pixels of a stored frame, uint8 `[height, width, 3]`."""
    if spec.frame_format == "raw":
        return np.frombuffer(frame, np.uint8).reshape(spec.frame_size_px, spec.frame_size_px, 3)
    from simplejpeg import decode_jpeg

    return decode_jpeg(frame)


def _records(manifest: Manifest, shards_dir: PathLike) -> Iterator[dict[str, Any]]:
    """Yield the records of a split as plain data; raise ShardError if one is damaged."""
    from deepvideo_tf.data.shards.records import read_records, record_to_dict

    for shard in manifest.shards:
        path = to_path(shards_dir) / shard["name"]

        def refuse(offset: int, problem: str, path: Any = path) -> None:
            raise ShardError(f"{path}: damaged at byte {offset}: {problem}")

        for _, record in read_records(path, refuse):
            yield record_to_dict(record)
