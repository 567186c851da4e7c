"""Trains a model on shards and exports it.

  deepvideo-train --shards_dir=SHARDS --workdir=RUN --model=multires --width=0.25

Interrupted, the same command goes on at the exact step. The flags' defaults are the paper's where it states them.
The paper's baseline, hand-made features and a perceptron:

  deepvideo-train --shards_dir=SHARDS --workdir=RUN --model=feature_histograms

From another run's weights, training the top layer only:

  deepvideo-train --shards_dir=SHARDS --workdir=RUN2 --model=multires --width=0.25 --init_from=RUN --finetune=top

By two machines together (extra `jax`), each with its own number as the process_id; docs/scale.md has more:

  deepvideo-train --shards_dir=SHARDS --workdir=RUN --model=multires --num_processes=2 --process_id=0
    --coordinator_address=HOST:6000
"""

import atexit
import contextlib
import faulthandler
import os
import sys

from absl import flags

from deepvideo_tf import cli
from deepvideo_tf.config import MODELS, ClipSpec, HistogramConfig, ProcessSpec, TrainConfig
from deepvideo_tf.errors import ConfigError, DeepVideoError
from deepvideo_tf.training.executors import STRATEGIES, restarts

_SHARDS_DIR = flags.DEFINE_string("shards_dir", None, "Required. Folder of the shards.", required=True)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Required. Folder of the run: configuration, checkpoints, exported model.", required=True
)
_AS_IN_THE_PAPER = {"default": None, "note": "By default as in the paper."}
_CONFIG = cli.ConfigFlags(TrainConfig, skip=("clip", "options"))
_CLIP = cli.ConfigFlags(
    ClipSpec, changes=dict.fromkeys(("num_frames", "frame_stride", "crop_size_px"), _AS_IN_THE_PAPER)
)
_HISTOGRAMS = cli.ConfigFlags(HistogramConfig)
_MAX_BAD_FRACTION = flags.DEFINE_float(
    "max_bad_fraction", 0.01, "Fraction of the stored clips that may be damaged; above it training fails."
)
_CHECKPOINT_MINUTES = flags.DEFINE_float(
    "checkpoint_minutes", 10.0, "Minutes between checkpoints within an epoch.", lower_bound=0.0
)
_PROCESS = cli.ConfigFlags(
    ProcessSpec,
    changes={
        "count": {"name": "num_processes", "default": None, "lower_bound": 1},
        "number": {"name": "process_id", "default": None, "lower_bound": 0},
    },
)
_NUM_PROCESSES, _PROCESS_ID, _COORDINATOR_ADDRESS = (
    _PROCESS[field] for field in ("count", "number", "coordinator_address")
)
_STRATEGY = flags.DEFINE_enum(
    "strategy",
    None,
    STRATEGIES,
    "mirrored: all devices of this machine share every batch. downpour: the machines named in TF_CONFIG, each "
    "running this command, train asynchronously.",
)


def main():
    config = _config()
    from deepvideo_tf.data.shards.manifest import read_manifest
    from deepvideo_tf.training.executors.cluster import cluster_of_environment

    is_server = _STRATEGY.value == "downpour" and cluster_of_environment()[1] != "chief"
    manifest = None if is_server else read_manifest(_SHARDS_DIR.value, "train")  # before TensorFlow takes its seconds
    place = _place()
    if place is not None and not restarts.is_child():
        _check_shares(place, config, manifest)
        sys.exit(restarts.run_with_restarts([sys.executable, *sys.argv], _newest_checkpoint))
    cli.import_tensorflow()
    from deepvideo_tf.formats.export import export_run
    from deepvideo_tf.training.train import is_finished, train

    if place is not None:
        restarts.end_with_parent()
    # Of a finished run the others may not come; only the export is left, which the first makes.
    is_left_to_first = place is not None and is_finished(_WORKDIR.value, config)
    if is_left_to_first and place.number:
        _print_follower()
        return
    with contextlib.ExitStack() as stack:
        if place is not None and not is_left_to_first:
            stack.enter_context(_joined(place))
        is_writer = train(
            config,
            _SHARDS_DIR.value,
            _WORKDIR.value,
            max_bad_fraction=_MAX_BAD_FRACTION.value,
            checkpoint_minutes=_CHECKPOINT_MINUTES.value,
            on_step=_progress_bar(stack),
            on_epoch=_print_epoch,
            strategy=_STRATEGY.value,
        )
    if is_server:
        return
    if not is_writer:
        _print_follower()
        return
    saved_model = export_run(_WORKDIR.value)
    print(f"Run: {_WORKDIR.value}")
    if saved_model is None:
        print("No SavedModel: the features are no part of a graph. Predict and evaluate with the run itself")
    else:
        print(f"SavedModel: {saved_model}")
    cli.print_next("deepvideo-evaluate", f"--workdir={_WORKDIR.value}", f"--shards_dir={_SHARDS_DIR.value}")


def _place():
    """Which process of several this is; None for a run of one process."""
    if _NUM_PROCESSES.value is None:
        for flag in (_PROCESS_ID, _COORDINATOR_ADDRESS):
            if flag.value is not None:
                raise ConfigError(f"--{flag.name} must be given with --num_processes. Received: {flag.value!r}")
        return None
    if _STRATEGY.value is not None:
        raise ConfigError(f"--strategy must not be given with --num_processes. Received: {_STRATEGY.value!r}")
    return _PROCESS.config(number=_process_id())


def _check_shares(place, config, manifest):
    """Refuses before anybody waits what cannot be shared out; `train` looks at the devices, too."""
    if place.count > len(manifest.shards):
        raise ConfigError(
            f"--num_processes must be at most {len(manifest.shards)}, since each needs one of the train shards. "
            f"Received: {place.count}"
        )
    if config.global_batch_size % place.count:
        raise ConfigError(
            f"--global_batch_size must be a multiple of --num_processes={place.count}. "
            f"Received: {config.global_batch_size}"
        )


def _process_id():
    if _PROCESS_ID.value is not None:
        return _PROCESS_ID.value
    for name in ("SLURM_PROCID", "JOB_COMPLETION_INDEX"):  # a task of srun, a pod of an indexed job
        if os.environ.get(name, "").isdecimal():
            return int(os.environ[name])
    if _NUM_PROCESSES.value > 1:
        raise ConfigError(f"--process_id must be given: the number of this process, 0 to {_NUM_PROCESSES.value - 1}")
    return 0


def _newest_checkpoint():
    folder = os.path.join(_WORKDIR.value, "checkpoints")
    names = os.listdir(folder) if os.path.isdir(folder) else ()
    return max((name for name in names if name.startswith("step-")), default=None)


@contextlib.contextmanager
def _joined(place):
    """Trains with the other processes; ends as `restarts` expects it."""
    from deepvideo_tf.training.executors import processes

    faulthandler.disable()  # absl's: JAX aborts a process whose peers are gone, and says why itself
    try:
        with processes.joined(place):
            yield
    except processes.LostProcessError as error:
        restarts.leave_as_lost(str(error))
    except (DeepVideoError, KeyboardInterrupt) as error:
        # Once the message is shown: JAX would wait for the others, who wait for this process.
        atexit.register(_leave, cli.INTERRUPTED if isinstance(error, KeyboardInterrupt) else cli.FAILED)
        raise


def _print_follower():
    print(f"Run: {_WORKDIR.value}\nProcess 0 exports it")


def _leave(status):
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _progress_bar(stack):
    """What shows the clips seen, in a bar that begins where the run does."""
    update, before = None, 0

    def on_step(seen, in_all):
        nonlocal update, before
        if update is None:
            update = stack.enter_context(cli.progress(in_all, "clip", "train", done=seen))
        else:
            update(seen - before)
        before = seen

    return on_step


def _print_epoch(epoch, logs):
    numbers = "  ".join(f"{name} {value:.4g}" for name, value in logs.items())
    cli.print_line(f"epoch {epoch}  {numbers}")


def _config() -> TrainConfig:
    defaults = MODELS[_CONFIG["model"].value]
    histograms = _HISTOGRAMS.config()  # checked for every model
    options = histograms if defaults.options is HistogramConfig else None
    return _CONFIG.config(clip=_CLIP.config(defaults.clip), options=options)


def run():
    cli.run(main, in_buckets=("shards_dir", "workdir", "init_from"))


if __name__ == "__main__":
    run()
