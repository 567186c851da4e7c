"""Runs the whole job, one program after the other: videos, shards, training, evaluation, export, prediction.

On synthetic videos whose class can only be told from their motion:

  deepvideo-demo

On your own, a folder of videos for each class, a quarter of each class held out for testing:

  deepvideo-demo --video_root=VIDEOS

Every step prints its command, so that you can run it by itself. A demo that was interrupted goes on where it stopped.
"""

import hashlib
import json
import math
import shlex
import shutil
import sysconfig
from pathlib import Path

from absl import flags

from deepvideo_tf import cli
from deepvideo_tf.data.annotations import read_folder
from deepvideo_tf.data.shards.manifest import read_manifest

_VIDEO_ROOT = flags.DEFINE_string(
    "video_root", None, "Folder with one folder of videos per class; by default synthetic videos are made."
)
_DEMO_DIR = flags.DEFINE_string("demo_dir", "demo", "Folder for everything that the demo makes.")

SYNTHETIC_STEPS, OWN_STEPS = 250, 1500  # of training: the synthetic videos are learnt in a minute
MAX_EPOCHS = 40
GLOBAL_BATCH_SIZE = 32


def main():
    is_synthetic = _VIDEO_ROOT.value is None
    name = "synthetic" if is_synthetic else _folder_name(read_folder(_VIDEO_ROOT.value))
    demo = Path(_DEMO_DIR.value) / name
    video_root = demo / "videos" if is_synthetic else Path(_VIDEO_ROOT.value)
    shards, run, tflite = demo / "shards", demo / "run", demo / "model.tflite"
    if is_synthetic:
        print(
            "These videos are synthetic: textures that drift, their class is the direction. See --video_root for yours."
        )
        _step("make-synthetic", f"--video_root={video_root}")
    _step(
        "build-shards",
        "--format=folder",
        f"--video_root={video_root}",
        "--holdout_fraction=0.25",
        f"--shards_dir={shards}",
        "--clips_per_video=6",
        "--frame_size_px=100",
    )
    _step(
        "train",
        f"--shards_dir={shards}",
        f"--workdir={run}",
        "--model=multires_early_fusion",
        "--width=0.25",
        "--crop_size_px=90",
        # Left and right are classes of the synthetic videos; of most others a mirror image is as good.
        *(["--noflip"] if is_synthetic else []),
        "--optimizer=adamw",
        "--learning_rate=3e-4",
        "--schedule=cosine",
        f"--global_batch_size={GLOBAL_BATCH_SIZE}",
        f"--num_epochs={_num_epochs(shards, SYNTHETIC_STEPS if is_synthetic else OWN_STEPS)}",
    )
    _step("evaluate", f"--workdir={run}", f"--shards_dir={shards}")
    _step("export-tflite", f"--workdir={run}", f"--tflite_path={tflite}")
    saved_model = run / "saved_model"
    evaluation = json.loads((run / "evaluation-test.json").read_text(encoding="utf-8"))
    video = video_root / evaluation["per_video"][0]["video_id"]  # of the test split: training has not seen it
    for model_path in (saved_model, tflite):
        _step("predict", f"--model_path={model_path}", "--top=3", str(video))
    of_what = "synthetic videos" if is_synthetic else "videos"
    print(
        f"\nVideo Hit@1 {evaluation['video_hit_at_1']:.3f} on {evaluation['videos']} held-out {of_what} "
        f"(chance {1 / len(evaluation['classes']):.3f})"
    )
    print(f"Videos:      {video_root}\nShards:      {shards}\nRun:         {run}")
    print(f"SavedModel:  {saved_model}\nTFLite file: {tflite}")
    if shutil.which("deepvideo-predict") is None:
        print(f"Once: . {shlex.quote(sysconfig.get_path('scripts'))}/activate    puts the programs on your path")
    cli.print_next("deepvideo-predict", f"--model_path={saved_model}", video)
    if is_synthetic:
        print("Then your own videos: make demo VIDEOS=DIR, with a folder of videos for each class in DIR")


def _step(program, *arguments):
    cli.run_program(f"deepvideo-{program}", *arguments)


def _folder_name(videos):
    """A name for these very videos: with others in the folder, the demo begins anew beside the old one."""
    root = Path(videos.video_root).resolve()
    sizes = [f"{video.video_id} {(root / video.video_id).stat().st_size}" for video in videos.videos]
    return f"{root.name}-{hashlib.sha256(repr([str(root), *sizes]).encode()).hexdigest()[:6]}"


def _num_epochs(shards, steps):
    return min(MAX_EPOCHS, math.ceil(steps * GLOBAL_BATCH_SIZE / read_manifest(shards, "train").records))


def run():
    cli.run(main)


if __name__ == "__main__":
    run()
