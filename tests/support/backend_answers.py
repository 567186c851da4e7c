"""Run under one of Keras's backends: what every model answers with given weights, before and after a training step.

python tests/models/backend_answers.py FOLDER

Weights are read from FOLDER/<model>.weights.h5, or drawn and written there if there are none; the answers go to
FOLDER/<backend>.npz.
"""

import sys
from pathlib import Path

import keras
import numpy as np

import deepvideo_tf as dv
from deepvideo_tf.config import MODEL_NAMES


def answers(name, folder):
    model = dv.build_model(name, 5, width=0.1, crop_size_px=61, dropout=0.0)  # an odd size: edges matter
    path = folder / f"{name}.weights.h5"
    if path.exists():
        model.load_weights(path)
    else:
        random = np.random.default_rng(0)
        for weight in model.weights:  # so that logits are of the order of 1
            fan_in = np.prod(weight.shape[:-1]) if weight.name == "kernel" else 100
            weight.assign(random.normal(size=weight.shape) / np.sqrt(fan_in))
        model.save_weights(path)
    clips = np.random.default_rng(1).integers(0, 256, (4, *model.input_shape[1:]), dtype=np.uint8)
    before = model.predict(clips, verbose=0)
    model.compile(keras.optimizers.SGD(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.train_on_batch(clips, np.array([0, 1, 2, 3]))
    result = {f"{name} before": before, f"{name} after": model.predict(clips, verbose=0)}
    if name.endswith("slow_fusion"):
        stream = dv.SlowFusionStream(model)
        result[f"{name} after, streamed"] = np.stack([[stream.push(frame) for frame in clip][-1] for clip in clips[:1]])
    return result


def main(folder):
    folder = Path(folder)
    everything = {key: value for name in MODEL_NAMES for key, value in answers(name, folder).items()}
    np.savez(folder / f"{keras.backend.backend()}.npz", **everything)


if __name__ == "__main__":
    main(sys.argv[1])
