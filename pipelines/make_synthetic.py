"""Render a small set of synthetic H.264 videos whose classes differ in one thing only, by default their motion.

deepvideo-make-synthetic --video_root=VIDEOS
deepvideo-make-synthetic --video_root=VIDEOS --kind=appearance --off_centre
"""

from absl import flags

from deepvideo_tf import cli
from deepvideo_tf.data.synthetic import KINDS, make_synthetic

_VIDEO_ROOT = flags.DEFINE_string(
    "video_root", None, "Required. Folder to write <class>/<number>.mp4 to.", required=True
)
_KIND = flags.DEFINE_enum("kind", "direction", list(KINDS), "What distinguishes the classes.")
_VIDEOS_PER_CLASS = flags.DEFINE_integer("videos_per_class", 32, "Number of videos per class.", lower_bound=2)
_SEED = flags.DEFINE_integer("seed", 0, "Seed of textures, speeds and positions.", lower_bound=0)
_OFF_CENTRE = flags.DEFINE_bool(
    "off_centre", False, "Whether this is visible only along an edge of the frame, outside the fovea."
)
_CAMERA_MOTION = flags.DEFINE_bool(
    "camera_motion", False, "Whether the whole picture also drifts, in a random direction."
)


def main() -> None:
    classes = KINDS[_KIND.value]
    total = len(classes) * _VIDEOS_PER_CLASS.value
    with cli.progress(total, "video", "rendering") as on_video:
        root = make_synthetic(
            _VIDEO_ROOT.value,
            kind=_KIND.value,
            videos_per_class=_VIDEOS_PER_CLASS.value,
            seed=_SEED.value,
            off_centre=_OFF_CENTRE.value,
            camera_motion=_CAMERA_MOTION.value,
            on_video=on_video,
        )
    print(f"Synthetic videos: {total} of {len(classes)} classes ({', '.join(classes)}) in {root}")
    cli.print_next("deepvideo-build-shards", f"--video_root={root}", "--holdout_fraction=0.25", "--shards_dir=SHARDS")


def run() -> None:
    cli.run(main)


if __name__ == "__main__":
    run()
