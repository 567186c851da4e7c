"""Renders a small set of synthetic H.264 videos whose class can only be told from their motion.

deepvideo-make-synthetic --video_root=VIDEOS
"""

from absl import flags

from deepvideo_tf import cli

_VIDEO_ROOT = flags.DEFINE_string(
    "video_root", None, "Required. The folder to make, <class>/<number>.mp4.", required=True
)
_VIDEOS_PER_CLASS = flags.DEFINE_integer("videos_per_class", 32, "Videos of each of the four classes.", lower_bound=2)
_SEED = flags.DEFINE_integer("seed", 0, "Of the textures and speeds.", lower_bound=0)


def main():
    from deepvideo_tf.data.synthetic import DIRECTIONS, make_synthetic

    total = len(DIRECTIONS) * _VIDEOS_PER_CLASS.value
    with cli.progress(total, "video", "rendering") as on_video:
        root = make_synthetic(
            _VIDEO_ROOT.value, videos_per_class=_VIDEOS_PER_CLASS.value, seed=_SEED.value, on_video=on_video
        )
    print(f"Synthetic videos: {total} of {len(DIRECTIONS)} classes ({', '.join(DIRECTIONS)}) in {root}")
    cli.print_next("deepvideo-build-shards", f"--video_root={root}", "--holdout_fraction=0.25", "--shards_dir=SHARDS")


def run():
    cli.run(main)


if __name__ == "__main__":
    run()
