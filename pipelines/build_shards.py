"""Builds TFRecord shards of clips from labelled videos.

From a folder with a folder of videos for each class, a quarter of each class held out for testing:

  deepvideo-build-shards --format=folder --video_root=VIDEOS --holdout_fraction=0.25 --shards_dir=SHARDS

From a list with a line "relative/path label[,label]" for each video, labels as 0-based numbers or names:

  deepvideo-build-shards --format=list --annotations=LIST --classes=CLASSES --video_root=VIDEOS --shards_dir=SHARDS

From a table with the columns path, labels (parted by ;) and, if need be, split, start_s and end_s:

  deepvideo-build-shards --format=csv --annotations=TABLE.csv --video_root=VIDEOS --shards_dir=SHARDS

From the official lists of UCF-101, one of three folds:

  deepvideo-build-shards --format=ucf101 --annotations=LISTS --fold=1 --video_root=UCF-101 --shards_dir=SHARDS

From a list of Sports-1M and files named after their YouTube ids; a training list gives train and validation:

  deepvideo-build-shards --format=sports1m --annotations=LIST --classes=LABELS --video_root=VIDEOS --shards_dir=SHARDS

CLASSES is a file with one class name a line; line 1 is label 0.

An interrupted build goes on where it stopped when the same command is run again. --engine=ray builds on the nodes of a
Ray cluster, which have to see VIDEOS and SHARDS under the same names; the shards are the same to the byte.
"""

import json
import os

from absl import flags
from tqdm.contrib.logging import logging_redirect_tqdm

from deepvideo_tf import cli
from deepvideo_tf.config import MODEL_CLIPS, DecodeLimits, ShardSpec
from deepvideo_tf.data import annotations
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.execution.engines import ENGINES, check_engine
from deepvideo_tf.storage.paths import to_path
from deepvideo_tf.storage.writes import write_text_atomically

# Which flags each format needs, and which it takes besides.
FORMATS = {
    "folder": ((), ("holdout_fraction",)),
    "list": (("annotations", "classes"), ()),
    "csv": (("annotations",), ("classes",)),
    "ucf101": (("annotations",), ("fold",)),
    "sports1m": (("annotations", "classes"), ()),
}
_FORMAT = flags.DEFINE_enum("format", "folder", list(FORMATS), "Format of the labels.")
_VIDEO_ROOT = flags.DEFINE_string("video_root", None, "Required. Folder of the videos.", required=True)
_ANNOTATIONS = flags.DEFINE_string("annotations", None, "List of videos; with --format=ucf101, folder of the lists.")
_CLASSES = flags.DEFINE_string("classes", None, "File with one class name per line.")
_FOLD = flags.DEFINE_integer("fold", None, "With --format=ucf101: number of the fold, 1, 2 or 3; 1 by default.")
_SHARDS_DIR = flags.DEFINE_string("shards_dir", None, "Required. Folder to write the shards to.", required=True)
_SPLIT = flags.DEFINE_enum("split", "train", ["train", "validation", "test"], "Name of the split.")
_HOLDOUT_FRACTION = flags.DEFINE_float(
    "holdout_fraction",
    None,
    "With --format=folder: fraction of each class that becomes the split 'test'; the rest becomes 'train'.",
    lower_bound=0.0,
    upper_bound=0.9,
)
_SHARDS = cli.ConfigFlags(ShardSpec)
_LIMITS = cli.ConfigFlags(DecodeLimits)
_NUM_SHARDS = flags.DEFINE_integer("num_shards", 16, "Number of files per split, at most one per video.", lower_bound=1)
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers", None, "Number of videos decoded in parallel; by default one per processor.", lower_bound=1
)
_ENGINE = flags.DEFINE_enum("engine", "local", ENGINES, "Where the shards are built: on this machine or by Ray.")
_RAY_ADDRESS = flags.DEFINE_string(
    "ray_address", None, "With --engine=ray: HOST:PORT, ray://HOST:PORT or auto; by default Ray on this machine."
)
_MAX_BAD_FRACTION = flags.DEFINE_float(
    "max_bad_fraction", 0.1, "Fraction of the videos that may be bad, at least 0 and below 1; above it the build fails."
)


def main():
    spec, limits = _SHARDS.config(), _LIMITS.config()
    check_engine(_ENGINE.value, _RAY_ADDRESS.value)
    splits = _read_splits()
    ignored = next(iter(splits.values())).ignored
    for path in ignored:
        print(f"ignored {path}: not a video by its name")
    from deepvideo_tf.data.shards.build import check_free

    for split in splits:
        check_free(_SHARDS_DIR.value, split)
    cli.import_tensorflow()
    for split, videos in splits.items():
        if not videos.videos:
            print(f"{split}: none of {len(videos.absent)} listed videos is there")
            _report_coverage(split, videos)
            continue
        manifest = _build(split, videos, spec, limits)
        shorter = f", {len(manifest.skipped)} skipped" if manifest.skipped else ""
        print(
            f"{split}: {manifest.used} of {manifest.listed} videos{shorter}, {manifest.records} clips, "
            f"{len(manifest.classes)} classes, {len(manifest.shards)} shards"
        )
        for item in manifest.skipped:
            print(f"  skipped {item['video_id']}: {item['reason']}")
        if _FORMAT.value == "sports1m":
            _report_coverage(split, videos)
    if ignored:
        print(f"{len(ignored)} files ignored, listed above")
    print(f"Shards: {_SHARDS_DIR.value}")
    small = [] if spec.frame_size_px >= MODEL_CLIPS["multires"].crop_size_px else [_crop_flag(spec.frame_size_px)]
    cli.print_next("deepvideo-train", f"--shards_dir={_SHARDS_DIR.value}", "--workdir=RUN", *small)


def _crop_flag(frame_size_px):
    """A crop in the paper's proportion, 178 of 200 px, for frames that are smaller than its crop."""
    return f"--crop_size_px={round(frame_size_px * 178 / 200)}"


def _read_splits():
    """Annotations by split."""
    needed, taken = FORMATS[_FORMAT.value]
    for holder in (_ANNOTATIONS, _CLASSES, _FOLD, _HOLDOUT_FRACTION):
        if holder.name in needed and holder.value is None:
            raise ConfigError(f"--format={_FORMAT.value} needs --{holder.name}")
        if holder.name not in needed + taken and holder.value is not None:
            raise ConfigError(f"--format={_FORMAT.value} does not take --{holder.name}")
    readers = {
        "folder": _read_folder,
        "list": _read_list,
        "csv": _read_csv,
        "ucf101": lambda: annotations.read_ucf101(_ANNOTATIONS.value, _VIDEO_ROOT.value, _FOLD.value or 1),
        "sports1m": _read_sports1m,
    }
    return readers[_FORMAT.value]()


def _read_folder():
    videos = annotations.read_folder(_VIDEO_ROOT.value)
    if not _HOLDOUT_FRACTION.value:
        return {_SPLIT.value: videos}
    if _SPLIT.value != "train":
        raise ConfigError("--holdout_fraction makes the splits 'train' and 'test': it does not go with --split")
    train, test = annotations.hold_out(videos, _HOLDOUT_FRACTION.value)
    return {"train": train, "test": test}


def _read_list():
    return {_SPLIT.value: annotations.read_list(_ANNOTATIONS.value, _VIDEO_ROOT.value, _CLASSES.value)}


def _read_csv():
    splits = annotations.read_csv(_ANNOTATIONS.value, _VIDEO_ROOT.value, _CLASSES.value)
    return {_SPLIT.value if split is None else split: videos for split, videos in splits.items()}


def _read_sports1m():
    videos = annotations.read_sports1m(_ANNOTATIONS.value, _VIDEO_ROOT.value, _CLASSES.value)
    if _SPLIT.value != "train":
        return {_SPLIT.value: videos}
    parts = zip(("train", "validation"), annotations.cut_validation(videos), strict=True)
    return {split: part for split, part in parts if part.videos or part.absent}


def _report_coverage(split, videos):
    """How much of a data set of addresses is there, in a few words and in a file."""
    report = annotations.coverage(videos)
    part = report["present"] / max(1, report["listed"])
    print(f"  {report['present']} of {report['listed']} listed videos are there ({part:.1%})")
    shards_dir = to_path(_SHARDS_DIR.value)
    shards_dir.mkdir(parents=True, exist_ok=True)
    path = shards_dir / f"{split}-coverage.json"
    write_text_atomically(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(f"  Coverage: {path}")


def _build(split, videos, spec, limits):
    from deepvideo_tf.data.shards.build import build_shards

    total = len(videos.videos)
    workers = f"{_NUM_WORKERS.value or os.cpu_count()} workers" if _ENGINE.value == "local" else "Ray"
    print(f"Building {split} shards of {total} videos with {workers}", flush=True)
    with (
        cli.progress(total, "video", split) as on_video,
        logging_redirect_tqdm(loggers=[cli.library_logger()]),
    ):
        return build_shards(
            videos,
            _SHARDS_DIR.value,
            split=split,
            spec=spec,
            num_shards=_NUM_SHARDS.value,
            num_workers=_NUM_WORKERS.value,
            max_bad_fraction=_MAX_BAD_FRACTION.value,
            limits=limits,
            engine=_ENGINE.value,
            ray_address=_RAY_ADDRESS.value,
            on_video=on_video,
        )


def run():
    cli.run(main, in_buckets=("shards_dir",))


if __name__ == "__main__":
    run()
