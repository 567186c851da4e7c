"""Build TFRecord shards of clips from labeled videos.

From a folder with one folder of videos per class, a quarter of each class held out for testing:

  deepvideo-build-shards --format=folder --video_root=VIDEOS --holdout_fraction=0.25 --shards_dir=SHARDS

From a list with a line "relative/path label[,label]" per video; a label is a 0-based number or a class name:

  deepvideo-build-shards --format=list --annotations=LIST --classes=CLASSES --video_root=VIDEOS --shards_dir=SHARDS

From a table with the columns path and labels (separated by ;), and optionally split, start_s and end_s:

  deepvideo-build-shards --format=csv --annotations=TABLE.csv --video_root=VIDEOS --shards_dir=SHARDS

From the official lists of UCF-101, one of three folds:

  deepvideo-build-shards --format=ucf101 --annotations=LISTS --fold=1 --video_root=UCF-101 --shards_dir=SHARDS

From a list of Sports-1M and files named after their YouTube ids; the training list gives train and validation:

  deepvideo-build-shards --format=sports1m --annotations=LIST --classes=LABELS --video_root=VIDEOS --shards_dir=SHARDS

CLASSES is a file with one class name per line; line 1 is label 0.

To resume an interrupted build, run the same command again. --engine=ray builds on the nodes of a Ray cluster, where
VIDEOS and SHARDS must have the same paths; the shards are the same to the byte.
"""

import json
import os
from typing import TYPE_CHECKING

from absl import flags
from tqdm.contrib.logging import logging_redirect_tqdm

from deepvideo_tf import cli
from deepvideo_tf.config import MODEL_CLIPS, DecodeLimits, ShardSpec
from deepvideo_tf.data.annotations import FORMATS, OPTIONS, SPLITS, Annotations, AnnotationSource, coverage
from deepvideo_tf.execution.engines import ENGINES, check_engine
from deepvideo_tf.storage.paths import to_path
from deepvideo_tf.storage.writes import write_text_atomically

if TYPE_CHECKING:
    from deepvideo_tf.data.shards.manifest import Manifest

_FORMAT = flags.DEFINE_enum("format", "folder", sorted(FORMATS), "Format of the labels.")
_VIDEO_ROOT = flags.DEFINE_string("video_root", None, "Required. Folder of the videos.", required=True)
flags.DEFINE_string("annotations", None, "List of videos; with --format=ucf101, folder of the lists.")
flags.DEFINE_string("classes", None, "File with one class name per line.")
flags.DEFINE_integer("fold", None, "With --format=ucf101: number of the fold, 1, 2 or 3; 1 by default.")
_SHARDS_DIR = flags.DEFINE_string("shards_dir", None, "Required. Folder to write the shards to.", required=True)
_SPLIT = flags.DEFINE_enum("split", "train", SPLITS, "Name of the split.")
flags.DEFINE_float(
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


def main() -> None:
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
        if videos.videos:
            _print_built(split, _build(split, videos, spec, limits))
        else:
            print(f"{split}: none of the {len(videos.absent)} listed videos is present")
        if FORMATS[_FORMAT.value].lists_absent:
            _report_coverage(split, videos)
    if ignored:
        print(f"{len(ignored)} files ignored, listed above")
    print(f"Shards: {_SHARDS_DIR.value}")
    small = [] if spec.frame_size_px >= MODEL_CLIPS["multires"].crop_size_px else [_crop_flag(spec.frame_size_px)]
    cli.print_next("deepvideo-train", f"--shards_dir={_SHARDS_DIR.value}", "--workdir=RUN", *small)


def _crop_flag(frame_size_px: int) -> str:
    """Return a crop in the paper's proportion, 178 of 200 px, for frames that are smaller than its crop."""
    return f"--crop_size_px={round(frame_size_px * 178 / 200)}"


def _read_splits() -> dict[str, Annotations]:
    options = {name: flags.FLAGS[name].value for name in OPTIONS if flags.FLAGS[name].value is not None}
    annotation_format = FORMATS[_FORMAT.value]
    annotation_format.check_options(options)
    return annotation_format.read(AnnotationSource(_VIDEO_ROOT.value, _SPLIT.value, **options))


def _print_built(split: str, manifest: "Manifest") -> None:
    skipped = f", {len(manifest.skipped)} skipped" if manifest.skipped else ""
    print(
        f"{split}: {manifest.used} of {manifest.listed} videos{skipped}, {manifest.records} clips, "
        f"{len(manifest.classes)} classes, {len(manifest.shards)} shards"
    )
    for item in manifest.skipped:
        print(f"  skipped {item['video_id']}: {item['reason']}")


def _report_coverage(split: str, videos: Annotations) -> None:
    """Print how many of the listed videos are present, and write a file with the numbers."""
    report = coverage(videos)
    fraction = report["present"] / max(1, report["listed"])
    print(f"  {report['present']} of {report['listed']} listed videos are there ({fraction:.1%})")
    shards_dir = to_path(_SHARDS_DIR.value)
    shards_dir.mkdir(parents=True, exist_ok=True)
    path = shards_dir / f"{split}-coverage.json"
    write_text_atomically(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    print(f"  Coverage: {path}")


def _build(split: str, videos: Annotations, spec: ShardSpec, limits: DecodeLimits) -> "Manifest":
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


def run() -> None:
    cli.run(main, in_buckets=("shards_dir",))


if __name__ == "__main__":
    run()
