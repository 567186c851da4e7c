"""Looking at shards: what they hold, sample clips as a picture, and what two splits have in common."""

import re
import statistics
from collections import Counter, defaultdict
from itertools import combinations

import numpy as np

from deepvideo_tf.data.annotations import SPLITS, group_of
from deepvideo_tf.data.shards.build import manifest_path, read_manifest
from deepvideo_tf.errors import ConfigError, ShardError
from deepvideo_tf.storage.paths import to_path
from deepvideo_tf.storage.writes import staged_file

SHEET_FRAMES = 8
THUMBNAIL_PX = 96
LABEL_PX = 16
# Two frames are near-duplicates if at most this part of the 256 bits of their hashes differs.
MAX_HASH_DIFFERENCE = 0.1
MIN_CONTRAST = 8  # of 255: the hash of a plain frame is noise


def splits_in(shards_dir):
    """The splits that a folder holds finished shards of.

    Args:
        shards_dir: the folder of shards.

    Returns:
        List of `train`, `validation`, `test`, in this order, at least one of them.

    Raises:
        ShardError: there are none.
    """
    found = [split for split in SPLITS if manifest_path(shards_dir, split).exists()]
    if not found:
        read_manifest(shards_dir, SPLITS[0])  # says what is there instead
    return found


def statistics_of(shards_dir, split):
    """What the shards of a split hold.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.

    Returns:
        Dict of `videos`, `clips`, `bytes`, `skipped`, `clips_per_video` (least, median, most), `seconds` (the same of
        the videos' lengths, from their first frame to the end of their last clip), and `classes`: for each name its
        `videos` and `clips`; one with several labels counts for each.

    Raises:
        ShardError: the shards are missing or damaged.
    """
    manifest = read_manifest(shards_dir, split)
    clips, ends_s, labels_of = Counter(), defaultdict(float), {}
    for record in _records(manifest, shards_dir):
        video_id = record["video_id"]
        clips[video_id] += 1
        ends_s[video_id] = max(
            ends_s[video_id], record["start_s"] + manifest.spec.clip_frames / record["frame_rate_fps"]
        )
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


def _spread(values):
    return min(values), statistics.median(values), max(values)


def write_contact_sheet(shards_dir, split, path, *, clips=12):
    """Draws sample clips as a picture: a row for each, its frames from left to right, its class and video above.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        path: the PNG file to write.
        clips: rows; the clips are spread evenly over the classes and the shards.

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
    for number, record in enumerate(rows):
        names = ", ".join(manifest.classes[label] for label in record["labels"])
        text = f"{names}   {record['video_id']}   from {record['start_s']:.2f} s"
        draw.text((2, number * height_px + 2), text, fill="black")
        chosen = np.linspace(0, manifest.spec.clip_frames - 1, SHEET_FRAMES).round().astype(int)
        for column, index in enumerate(chosen):
            frame = Image.fromarray(_pixels(record["frames"][index], manifest.spec))
            frame = frame.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)
            sheet.paste(frame, (column * THUMBNAIL_PX, number * height_px + LABEL_PX))
    with staged_file(path) as local:
        sheet.save(local, "PNG")


def _samples(manifest, shards_dir, count):
    """Records of as many classes as there is room for, by class."""
    wanted = -(-count // len(manifest.classes))
    found = defaultdict(dict)
    for record in _records(manifest, shards_dir):
        of_class = found[record["labels"][0]]
        if len(of_class) < wanted:
            of_class.setdefault(record["video_id"], record)
        if len(found) == len(manifest.classes) and all(len(some) == wanted for some in found.values()):
            break
    step = max(1, len(found) // count)
    rows = [record for label in sorted(found)[::step] for record in found[label].values()]
    return rows[:count]


def audit_splits(shards_dir):
    """Finds what stands on both sides of a split, which makes test results worth nothing.

    Three things are looked for: the same video, two videos of one UCF-101 group (cut from one source video), and videos
    with near-duplicate frames: section 4.1 found 1755 such among Sports-1M's million. The middle frame of each clip is
    hashed by the signs of its differences from left to right (256 bits of 16 x 16); frames are compared whose coarse
    hashes (64 bits of 8 x 8) agree in one half, so that the work grows with the clips and not with their pairs.

    Args:
        shards_dir: the folder of shards.

    Returns:
        List of dicts of `kind` (`same video`, `same group` or `near-duplicate`), `splits` (two names), `videos` (one id
        of each) and `clips` (pairs of clips that look alike; 0 for the other kinds).

    Raises:
        ShardError: the shards are missing or damaged.
    """
    hashes = {
        split: list(_clip_hashes(read_manifest(shards_dir, split), shards_dir)) for split in splits_in(shards_dir)
    }
    findings = []
    for one, other in combinations(hashes, 2):
        findings += _in_common(hashes, one, other)
    return findings


def _in_common(hashes, one, other):
    videos = [dict.fromkeys(video_id for video_id, _ in hashes[split]) for split in (one, other)]
    found = []

    def tell(kind, pair, clips=0):
        found.append({"kind": kind, "splits": (one, other), "videos": pair, "clips": clips})

    same = {_file_of(video_id): video_id for video_id in videos[0]}
    groups = {group_of(video_id): video_id for video_id in videos[0] if group_of(video_id) != video_id}
    for video_id in videos[1]:
        if _file_of(video_id) in same:
            tell("same video", (same[_file_of(video_id)], video_id))
        elif group_of(video_id) in groups:
            tell("same group", (groups[group_of(video_id)], video_id))
    told = {finding["videos"] for finding in found}
    alike = _near_duplicates(hashes[one], hashes[other])
    for pair, clips in alike.items():
        if pair not in told and _file_of(pair[0]) != _file_of(pair[1]):
            tell("near-duplicate", pair, clips)
    return found


def _file_of(video_id):
    return re.sub(r"#[0-9.e+]+-[0-9.e+]*$", "", video_id)  # what LabelledVideo adds to the path for a part


def _near_duplicates(one, other):
    """Counter of pairs of videos with clips that look alike."""
    buckets = defaultdict(list)
    for video_id, (coarse, fine) in _hashed(one):
        for half in range(2):
            buckets[half, coarse[half]].append((video_id, fine))
    pairs = Counter()
    for video_id, (coarse, fine) in _hashed(other):
        candidates = {
            (candidate, of_candidate) for half in range(2) for candidate, of_candidate in buckets[half, coarse[half]]
        }
        for candidate, of_candidate in candidates:
            if (fine ^ of_candidate).bit_count() <= MAX_HASH_DIFFERENCE * 256:
                pairs[candidate, video_id] += 1
    return pairs


def _clip_hashes(manifest, shards_dir):
    """Yields (video id, hashes of the clip's middle frame: the coarse one's halves and the fine one; None if plain)."""
    for record in _records(manifest, shards_dir):
        pixels = _pixels(record["frames"][len(record["frames"]) // 2], manifest.spec).astype(np.float32).mean(axis=-1)
        is_plain = pixels.std() < MIN_CONTRAST
        hashes = None if is_plain else (divmod(_difference_hash(pixels, 8), 1 << 32), _difference_hash(pixels, 16))
        yield record["video_id"], hashes


def _hashed(clips):
    return [clip for clip in clips if clip[1] is not None]


def _difference_hash(grey, size):
    """An int of size x size bits: whether each cell of a grid is darker than its right neighbour."""
    rows = np.array_split(grey, size, axis=0)
    cells = np.array([[cell.mean() for cell in np.array_split(row, size + 1, axis=1)] for row in rows])
    return int.from_bytes(np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes(), "big")


def _pixels(frame, spec):
    """uint8 `[height, width, 3]` of a stored frame."""
    if spec.frame_format == "raw":
        return np.frombuffer(frame, np.uint8).reshape(spec.frame_size_px, spec.frame_size_px, 3)
    from simplejpeg import decode_jpeg

    return decode_jpeg(frame)


def _records(manifest, shards_dir):
    """Yields the records of a split as plain data.

    Raises:
        ShardError: one is damaged.
    """
    from deepvideo_tf.data.shards.records import read_records, record_to_dict

    for shard in manifest.shards:
        path = to_path(shards_dir) / shard["name"]
        for _, record in read_records(path, lambda *damage, path=path: _refuse(path, *damage)):
            yield record_to_dict(record)


def _refuse(path, offset, problem):
    raise ShardError(f"{path}: damaged at byte {offset}: {problem}")
