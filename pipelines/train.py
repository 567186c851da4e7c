"""Trains a model on shards and exports it.

  deepvideo-train --shards_dir=SHARDS --workdir=RUN --model=multires --width=0.25

Run again, the same command goes on after the last whole epoch. The flags' defaults are the paper's where it states
them.
"""

import sys
from dataclasses import replace

from absl import flags

from deepvideo_tf import cli
from deepvideo_tf.config import DTYPE_POLICIES, MODEL_CLIPS, MODEL_NAMES, OPTIMIZERS, SCHEDULES, TrainConfig

_DEFAULTS = TrainConfig()

_SHARDS_DIR = flags.DEFINE_string("shards_dir", None, "Required. The folder of shards.", required=True)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Required. The run's folder: configuration, checkpoint, export.", required=True
)
_MODEL = flags.DEFINE_enum("model", _DEFAULTS.model, MODEL_NAMES, "The model.")
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
_DROPOUT = flags.DEFINE_float(
    "dropout", _DEFAULTS.dropout, "Dropout rate of both hidden dense layers, 0 or more and below 1."
)
_LRN_BETA = flags.DEFINE_float("lrn_beta", _DEFAULTS.lrn_beta, "Exponent of the local response normalisation.")
_OPTIMIZER = flags.DEFINE_enum("optimizer", _DEFAULTS.optimizer, OPTIMIZERS, "sgd has momentum 0.9.")
_LEARNING_RATE = flags.DEFINE_float("learning_rate", _DEFAULTS.learning_rate, "The (first) learning rate.")
_SCHEDULE = flags.DEFINE_enum("schedule", _DEFAULTS.schedule, SCHEDULES, "The learning rate over the run.")
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
_DTYPE_POLICY = flags.DEFINE_enum("dtype_policy", _DEFAULTS.dtype_policy, DTYPE_POLICIES, "Keras's precision policy.")
_SEED = flags.DEFINE_integer("seed", _DEFAULTS.seed, "Of weights, order, augmentation and dropout.")


def main():
    config = TrainConfig(
        model=_MODEL.value,
        clip=_clip(),
        width=_WIDTH.value,
        dropout=_DROPOUT.value,
        lrn_beta=_LRN_BETA.value,
        optimizer=_OPTIMIZER.value,
        learning_rate=_LEARNING_RATE.value,
        schedule=_SCHEDULE.value,
        weight_decay=_WEIGHT_DECAY.value,
        global_batch_size=_GLOBAL_BATCH_SIZE.value,
        num_epochs=_NUM_EPOCHS.value,
        colour_jitter=_COLOUR_JITTER.value,
        time_jitter=_TIME_JITTER.value,
        mixup_alpha=_MIXUP_ALPHA.value,
        dtype_policy=_DTYPE_POLICY.value,
        seed=_SEED.value,
    )
    from deepvideo_tf.data.shards import read_manifest

    read_manifest(_SHARDS_DIR.value, "train")  # before TensorFlow takes its seconds
    cli.import_tensorflow()
    from deepvideo_tf.training.fit import train

    saved_model = train(
        config,
        _SHARDS_DIR.value,
        _WORKDIR.value,
        max_bad_fraction=_MAX_BAD_FRACTION.value,
        verbose=1 if sys.stdout.isatty() else 2,
    )
    print(f"Run: {_WORKDIR.value}\nSavedModel: {saved_model}")
    cli.print_next("deepvideo-evaluate", f"--workdir={_WORKDIR.value}", f"--shards_dir={_SHARDS_DIR.value}")


def _clip():
    given = {
        "num_frames": _NUM_FRAMES.value,
        "frame_stride": _FRAME_STRIDE.value,
        "crop_size_px": _CROP_SIZE_PX.value,
        "flip": _FLIP.value,
    }
    return replace(MODEL_CLIPS[_MODEL.value], **{name: value for name, value in given.items() if value is not None})


def run():
    cli.run(main)


if __name__ == "__main__":
    run()
