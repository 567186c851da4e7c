"""Downpour SGD beside one process: the training loss after as many examples, with a worker killed and without.

  python benchmarks/downpour.py                                       seeds 0 and 1, on DATA/ucf101-6
  python benchmarks/downpour.py --flags=--momentum=0 --seeds=0        more flags of deepvideo-train, for both sides

Builds shards of the six classes, then trains a small single-frame net, for each seed: by one process; by a chief, a
parameter server and 2 workers on this machine; and by the same, of which a worker is killed in the middle and started
again. Prints the mean loss over the last epoch, that of all training clips afterwards (central crops, no dropout), and
their ratios to the first one's. The time is that of the program, TensorFlow's start and the export included: on one
machine the workers share the cores that the one process had.
"""

import csv
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from absl import app, flags

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
DATA = Path(os.environ.get("DEEPVIDEO_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
TRAIN = Path(sysconfig.get_path("scripts")) / "deepvideo-train"
NUM_EPOCHS = 8
SETTINGS = ["--model=single_frame", "--width=0.25", "--crop_size_px=86", f"--num_epochs={NUM_EPOCHS}"]
CALM = ["--learning_rate=3e-4", "--schedule=cosine"]
GOAL = 1.1  # times the loss of one process

_SEEDS = flags.DEFINE_list("seeds", "0,1", "Seeds of the runs.")
_FLAGS = flags.DEFINE_list("flags", "", "More flags of deepvideo-train.")


def build_shards(folder):
    import deepvideo_tf as dv

    root = DATA / "ucf101-6"
    annotations = dv.read_list(root / "trainlist01.txt", root / "videos", root / "classes.txt")
    spec = dv.ShardSpec(clips_per_video=4, frame_size_px=100)
    dv.build_shards(annotations, folder, spec=spec, num_shards=8)


def train_alone(flags, folder):
    with open(folder / "alone.log", "w") as log:
        subprocess.run([TRAIN, *flags], check=True, stdout=log, stderr=log)


def train_downpour(flags, folder):
    from tests.support.cluster import Cluster

    with Cluster(folder, flags) as cluster:
        cluster.wait_for_end()


def train_with_a_kill(flags, folder):
    from tests.support.cluster import Cluster

    with Cluster(folder, flags) as cluster:
        cluster.wait_for(f"epoch {NUM_EPOCHS // 2 - 1} ")
        cluster.kill("worker", 0)
        cluster.wait_for(f"epoch {NUM_EPOCHS // 2} ")
        cluster.start("worker", 0)
        cluster.wait_for_end()


SIDES = {"one process": train_alone, "2 workers": train_downpour, "2 workers, one killed": train_with_a_kill}


def losses(shards_dir, workdir):
    """Mean over the last epoch of training, and of all clips afterwards."""
    import deepvideo_tf as dv
    from deepvideo_tf.runs.run import load_run
    from deepvideo_tf.training.optimization.losses import loss_of

    with open(workdir / "history.csv") as file:
        last = list(csv.DictReader(file))[-1]
    run = load_run(workdir)
    run.model.compile(loss=loss_of(run.config))
    clips = dv.make_dataset(shards_dir, "train", run.card.clip, batch_size=32)
    return float(last["loss"]), float(run.model.evaluate(clips, verbose=0))


def measure(shards_dir, folder, seed, more_flags=()):
    """Trains in the three ways.

    Returns:
        Dict from the way to the loss over the last epoch, that afterwards, and the seconds.
    """
    found = {}
    for name, way in SIDES.items():
        here = Path(folder) / f"{seed}-{name.replace(' ', '-')}"
        here.mkdir()
        start_s = time.monotonic()
        way([f"--shards_dir={shards_dir}", f"--workdir={here}/run", f"--seed={seed}", *SETTINGS, *more_flags], here)
        time_s = time.monotonic() - start_s
        found[name] = *losses(shards_dir, here / "run"), time_s
    return found


def main(_):
    with tempfile.TemporaryDirectory() as folder:
        build_shards(Path(folder) / "shards")
        for seed in _SEEDS.value:
            found = measure(Path(folder) / "shards", folder, seed, _FLAGS.value)
            last, after, _ = found["one process"]
            for name, (last_here, after_here, time_s) in found.items():
                print(
                    f"seed {seed}  {name:21}  last epoch {last_here:.4f} ({last_here / last:.3f})  "
                    f"afterwards {after_here:.4f} ({after_here / after:.3f})  {time_s:.0f} s  (goal {GOAL})",
                    flush=True,
                )


if __name__ == "__main__":
    app.run(main)
