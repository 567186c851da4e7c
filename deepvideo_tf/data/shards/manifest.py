"""The manifest of a split's shards: what they are and what they hold. It is written when all shards are."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deepvideo_tf.config import ModelCard, ShardSpec, from_json, to_json
from deepvideo_tf.errors import ModelFileError, ShardError
from deepvideo_tf.execution.jobs import fingerprint_of
from deepvideo_tf.storage.files import sizes_of
from deepvideo_tf.storage.paths import AnyPath, PathLike, to_path
from deepvideo_tf.storage.writes import write_text_atomically

MANIFEST_VERSION = 2


@dataclass(frozen=True)
class Manifest:
    """The content of `<split>-manifest.json`.

    Args:
        split: `train`, `validation` or `test`.
        classes: class names; a label is an index into them.
        spec: what the clips are.
        fingerprint: SHA-256 over the configuration and the list of videos, with their sizes.
        listed: number of videos that the annotations list.
        used: number of videos in the shards; `listed` is `used` plus the skipped ones.
        skipped: dicts of `video_id` and `reason`.
        absent: videos that the data set names but nobody has, and so are not listed.
        shards: dicts of `name`, `records`, `bytes`, `sha256`, `videos`.
    """

    split: str
    classes: tuple[str, ...]
    spec: ShardSpec
    fingerprint: str
    listed: int
    used: int
    skipped: tuple[dict[str, str], ...]
    absent: int
    shards: tuple[dict[str, Any], ...]

    @property
    def records(self) -> int:
        """Number of clips in all shards."""
        return sum(shard["records"] for shard in self.shards)

    @property
    def content_sha256(self) -> str:
        """SHA-256 over the shards' own. Unlike the fingerprint, it depends on which videos could be decoded."""
        return hashlib.sha256("".join(shard["sha256"] for shard in self.shards).encode()).hexdigest()


def manifest_path(shards_dir: PathLike, split: str) -> AnyPath:
    """Return the path of a split's manifest."""
    return to_path(shards_dir) / f"{split}-manifest.json"


def build_dir(shards_dir: PathLike, split: str) -> AnyPath:
    """Return the hidden folder that holds the shards of an unfinished build."""
    return to_path(shards_dir) / f".{split}-build"


def read_manifest(shards_dir: PathLike, split: str, *, check_sizes: bool = True) -> Manifest:
    """Read the manifest of a finished build.

    Args:
        shards_dir: the folder of shards.
        split: `train`, `validation` or `test`.
        check_sizes: whether to look for the shards and compare their sizes.

    Returns:
        `Manifest`.

    Raises:
        ShardError: there is no finished build of this split, or its manifest or one of its shards is damaged.
    """
    path = manifest_path(shards_dir, split)
    if not path.exists():
        raise _missing(shards_dir, split)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["version"] != MANIFEST_VERSION:
            raise ShardError(f"{path}: expected version {MANIFEST_VERSION}, found {data['version']}; build it again")
        if data.pop("checksum") != checksum_of(data):
            raise ShardError(f"{path}: damaged: it does not match its own checksum")
        manifest = Manifest(
            split=data["split"],
            classes=tuple(data["classes"]),
            spec=from_json(ShardSpec, data["spec"], path),
            fingerprint=data["fingerprint"],
            listed=data["listed"],
            used=data["used"],
            skipped=tuple(data["skipped"]),
            absent=data["absent"],
            shards=tuple(data["shards"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ShardError(f"{path}: not a manifest of shards: {type(error).__name__}: {error}") from None
    if check_sizes:
        files = [path.parent / shard["name"] for shard in manifest.shards]
        for file, shard, size in zip(files, manifest.shards, sizes_of(files), strict=True):
            if size != shard["bytes"]:
                came = "no such file" if size is None else f"{size} bytes"
                raise ShardError(f"{file}: expected {shard['bytes']} bytes, as its manifest says, found {came}")
    return manifest


def _missing(shards_dir: PathLike, split: str) -> ShardError:
    """Return the error that says what there is instead of a manifest."""
    folder = to_path(shards_dir)
    if not folder.is_dir():
        return ShardError(f"{shards_dir}: expected a folder of shards, found none")
    if build_dir(shards_dir, split).exists():
        return ShardError(f"{shards_dir}: the build of its {split} shards is unfinished; run it again to resume")
    found = sorted(file.name.removesuffix("-manifest.json") for file in folder.glob("*-manifest.json"))
    return ShardError(f"{shards_dir}: expected shards of the split {split!r}, found {', '.join(found) or 'none'}")


def write_manifest(shards_dir: PathLike, manifest: Manifest) -> None:
    """Write the manifest of a split whose shards have their final names.

    Args:
        shards_dir: the folder of shards.
        manifest: of its split.

    Raises:
        OSError: it cannot be written.
    """
    data = {
        "version": MANIFEST_VERSION,
        "split": manifest.split,
        "fingerprint": manifest.fingerprint,
        "listed": manifest.listed,
        "used": manifest.used,
        "skipped": list(manifest.skipped),
        "absent": manifest.absent,
        "classes": list(manifest.classes),
        "spec": to_json(manifest.spec),
        "shards": list(manifest.shards),
    }
    data["checksum"] = checksum_of(data)
    path = manifest_path(shards_dir, manifest.split)
    write_text_atomically(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def checksum_of(data: dict[str, Any]) -> str:
    """Return the checksum of a manifest: SHA-256 of its other entries, whatever their order."""
    return fingerprint_of(data, sort_keys=True)


def check_classes(one: object, of_one: Sequence[str], other: object, of_other: Sequence[str]) -> None:
    """Raise ShardError if two things that are used together have different classes, or another order of them.

    Args:
        one: path of the first, for the message.
        of_one: its class names, in the order of its labels.
        other: path of the second.
        of_other: its class names.

    Raises:
        ShardError: the two differ.
    """
    if of_one == of_other:
        return
    if sorted(of_one) == sorted(of_other):
        what = "the same classes in another order"
    else:
        different = ", ".join(sorted(set(of_one) ^ set(of_other))[:3])
        what = f"other classes ({len(of_other)}, not {len(of_one)}; only one side has {different})"
    raise ShardError(f"{one}: cannot be used with {other}, which has {what}")


def check_card(workdir: object, card: ModelCard, shards_dir: object, manifest: Manifest) -> None:
    """Raise an error if a trained model cannot be used on the clips of some shards.

    Args:
        workdir: the run's folder, for messages.
        card: the run's model.
        shards_dir: the folder of shards, for messages.
        manifest: of the shards.

    Raises:
        ModelFileError: the model was trained on clips of another size or rate.
        ShardError: the shards have other classes or another order of them.
    """
    check_classes(workdir, card.classes, shards_dir, manifest.classes)
    for name in ("frame_size_px", "frame_rate_fps"):
        ours, theirs = getattr(card.shards, name), getattr(manifest.spec, name)
        if ours != theirs:
            raise ModelFileError(
                f"{workdir}: was trained on clips of {name}={ours}, those in {shards_dir} have {theirs}"
            )
