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
from dataclasses import replace

from absl import flags

from deepvideo_tf import cli
from deepvideo_tf.config import (
    FINETUNE_MODES,
    STRATEGIES,
    TRAINABLE_CLIPS,
    TRAINABLE_NAMES,
    HistogramConfig,
    ProcessSpec,
    TrainConfig,
)
from deepvideo_tf.config.models import MODELS
from deepvideo_tf.config.train import CLASS_WEIGHTS, DTYPE_POLICIES, LOSSES, OPTIMIZERS, SCHEDULES
from deepvideo_tf.errors import ConfigError, DeepVideoError
from deepvideo_tf.training.executors import restarts

_DEFAULTS = TrainConfig()

_SHARDS_DIR = flags.DEFINE_string("shards_dir", None, "Required. The folder of shards.", required=True)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Required. The run's folder: configuration, checkpoint, export.", required=True
)
_MODEL = flags.DEFINE_enum("model", _DEFAULTS.model, TRAINABLE_NAMES, "The model.")
_NUM_FRAMES = flags.DEFINE_integer("num_frames", None, "Frames the model sees; by default as in the paper.")
_FRAME_STRIDE = flags.DEFINE_integer(
    "frame_stride", None, "Stored frames from one to the next; by default as in the paper."
)
_CROP_SIZE_PX = flags.DEFINE_integer(
    "crop_size_px", None, "Height and width the model sees; by default as in the paper."
)
_FLIP = flags.DEFINE_bool("flip", True, "Whether a mirror image keeps its label. --noflip where left and right differ.")
_WIDTH = flags.DEFINE_float(
    "width", _DEFAULTS.width, "Scale of all filters and hidden units, above 0; 1 is the paper's."
)
_HISTOGRAM_WORDS = flags.DEFINE_integer(
    "histogram_words",
    HistogramConfig().words,
    "Of feature_histograms: words of each codebook; 850 give 24,759 dimensions.",
)
_HIDDEN_LAYERS = flags.DEFINE_integer(
    "hidden_layers", HistogramConfig().hidden_layers, "Of feature_histograms: 1 or 2."
)
_DROPOUT = flags.DEFINE_float("dropout", _DEFAULTS.dropout, "Dropout rate of the hidden dense layers, below 1.")
_TOP_DROPOUT = flags.DEFINE_float(
    "top_dropout", None, "Dropout rate just below the top layer; by default 0.9 in fine-tuning, else --dropout."
)
_LRN_BETA = flags.DEFINE_float("lrn_beta", _DEFAULTS.lrn_beta, "Exponent of the local response normalisation.")
_INIT_FROM = flags.DEFINE_string("init_from", None, "The folder of a run whose weights this one starts from.")
_FINETUNE = flags.DEFINE_enum(
    "finetune", None, list(FINETUNE_MODES), "With --init_from: which layers are trained; scratch takes nothing from it."
)
_CACHED_VIEWS = flags.DEFINE_integer(
    "cached_views",
    _DEFAULTS.cached_views,
    "With --finetune=top or top3: views of each clip whose features are computed once; 0 computes them in every step. "
    "Of feature_histograms: 1 to 5.",
)
_LOSS = flags.DEFINE_enum("loss", _DEFAULTS.loss, LOSSES, "sigmoid is for videos of several labels.")
_LABEL_SMOOTHING = flags.DEFINE_float(
    "label_smoothing", _DEFAULTS.label_smoothing, "Part of the target that is spread over the classes."
)
_CLASS_WEIGHTS = flags.DEFINE_enum(
    "class_weights", _DEFAULTS.class_weights, CLASS_WEIGHTS, "balanced: clips of rare classes count for more."
)
_OPTIMIZER = flags.DEFINE_enum(
    "optimizer", None, OPTIMIZERS, "sgd, which has momentum, by default; adamw for feature_histograms."
)
_MOMENTUM = flags.DEFINE_float("momentum", _DEFAULTS.momentum, "Of sgd, at least 0 and below 1.")
_LEARNING_RATE = flags.DEFINE_float("learning_rate", _DEFAULTS.learning_rate, "The (first) learning rate.")
_SCHEDULE = flags.DEFINE_enum(
    "schedule",
    _DEFAULTS.schedule,
    SCHEDULES,
    "The learning rate over the run; plateau lowers it when validation stops improving.",
)
_PLATEAU_EPOCHS = flags.DEFINE_integer(
    "plateau_epochs", _DEFAULTS.plateau_epochs, "Epochs without improvement before the rate is lowered."
)
_WARMUP_STEPS = flags.DEFINE_integer(
    "warmup_steps", _DEFAULTS.warmup_steps, "Steps over which the learning rate rises from 0."
)
_MAX_GRADIENT_NORM = flags.DEFINE_float(
    "max_gradient_norm", _DEFAULTS.max_gradient_norm, "Longer gradients are scaled down to this norm; 0 for no limit."
)
_WEIGHT_DECAY = flags.DEFINE_float("weight_decay", _DEFAULTS.weight_decay, "Decoupled weight decay.")
_GLOBAL_BATCH_SIZE = flags.DEFINE_integer("global_batch_size", _DEFAULTS.global_batch_size, "Clips a step.")
_NUM_EPOCHS = flags.DEFINE_integer("num_epochs", _DEFAULTS.num_epochs, "Passes over the shards.")
_COLOUR_JITTER = flags.DEFINE_float(
    "colour_jitter", _DEFAULTS.colour_jitter, "How far saturation, contrast and brightness are changed in training."
)
_TIME_JITTER = flags.DEFINE_float(
    "time_jitter", _DEFAULTS.time_jitter, "By what part the distance of the frames is changed in training."
)
_MIXUP_ALPHA = flags.DEFINE_float(
    "mixup_alpha", _DEFAULTS.mixup_alpha, "Above 0 mixes the clips of a training batch, by Beta(alpha, alpha)."
)
_MAX_BAD_FRACTION = flags.DEFINE_float(
    "max_bad_fraction", 0.01, "The part of the stored clips that may be damaged; above it training fails."
)
_CHECKPOINT_MINUTES = flags.DEFINE_float(
    "checkpoint_minutes", 10.0, "Time between checkpoints within an epoch.", lower_bound=0.0
)
_DTYPE_POLICY = flags.DEFINE_enum("dtype_policy", _DEFAULTS.dtype_policy, DTYPE_POLICIES, "Keras's precision policy.")
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes",
    None,
    "Processes that train together, each started with the same flags but its own --process_id; 1 uses all of this "
    "machine's devices. Needs the extra jax.",
    lower_bound=1,
)
_PROCESS_ID = flags.DEFINE_integer(
    "process_id",
    None,
    "With --num_processes: the number of this one, from 0; by default as Slurm or Kubernetes number it.",
    lower_bound=0,
)
_COORDINATOR_ADDRESS = flags.DEFINE_string(
    "coordinator_address", None, "With --num_processes: HOST:PORT of process 0, which listens there."
)
_STRATEGY = flags.DEFINE_enum(
    "strategy",
    None,
    STRATEGIES,
    "mirrored: all devices of this machine share every batch. downpour: the machines that TF_CONFIG names, each with "
    "this command, train asynchronously.",
)
_SEED = flags.DEFINE_integer("seed", _DEFAULTS.seed, "Of weights, order, augmentation and dropout.")


def main():
    options = HistogramConfig(_HISTOGRAM_WORDS.value, _HIDDEN_LAYERS.value)
    config = TrainConfig(
        model=_MODEL.value,
        clip=_clip(),
        width=_WIDTH.value,
        options=options if MODELS[_MODEL.value].options else None,
        dropout=_DROPOUT.value,
        top_dropout=_TOP_DROPOUT.value,
        lrn_beta=_LRN_BETA.value,
        init_from=_INIT_FROM.value,
        finetune=_FINETUNE.value,
        cached_views=_CACHED_VIEWS.value,
        loss=_LOSS.value,
        label_smoothing=_LABEL_SMOOTHING.value,
        class_weights=_CLASS_WEIGHTS.value,
        optimizer=_OPTIMIZER.value,
        momentum=_MOMENTUM.value,
        learning_rate=_LEARNING_RATE.value,
        schedule=_SCHEDULE.value,
        plateau_epochs=_PLATEAU_EPOCHS.value,
        warmup_steps=_WARMUP_STEPS.value,
        max_gradient_norm=_MAX_GRADIENT_NORM.value,
        weight_decay=_WEIGHT_DECAY.value,
        global_batch_size=_GLOBAL_BATCH_SIZE.value,
        num_epochs=_NUM_EPOCHS.value,
        colour_jitter=_COLOUR_JITTER.value,
        time_jitter=_TIME_JITTER.value,
        mixup_alpha=_MIXUP_ALPHA.value,
        dtype_policy=_DTYPE_POLICY.value,
        seed=_SEED.value,
    )
    from deepvideo_tf.data.shards.build import read_manifest
    from deepvideo_tf.training.executors.cluster import cluster_of_environment

    is_server = _STRATEGY.value == "downpour" and cluster_of_environment()[1] != "chief"
    manifest = None if is_server else read_manifest(_SHARDS_DIR.value, "train")  # before TensorFlow takes its seconds
    place = _place()
    if place is not None and not restarts.is_child():
        _check_shares(place, config, manifest)
        sys.exit(restarts.run_with_restarts([sys.executable, *sys.argv], _newest_checkpoint))
    cli.import_tensorflow()
    from deepvideo_tf.formats.export_run import export_run

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
    return ProcessSpec(_process_id(), _NUM_PROCESSES.value, _COORDINATOR_ADDRESS.value)


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


def _clip():
    given = {
        "num_frames": _NUM_FRAMES.value,
        "frame_stride": _FRAME_STRIDE.value,
        "crop_size_px": _CROP_SIZE_PX.value,
        "flip": _FLIP.value,
    }
    return replace(TRAINABLE_CLIPS[_MODEL.value], **{name: value for name, value in given.items() if value is not None})


def run():
    cli.run(main, in_buckets=("shards_dir", "workdir", "init_from"))


if __name__ == "__main__":
    run()
