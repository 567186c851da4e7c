"""One process trains on what two would: `python union_fit.py SHARDS RUN STEPS OUT` ends with weights in OUT, an npz.

RUN is that of the two. Each of the two batches that they share a step between becomes one here, through Keras's own
`train_on_batch`.
"""

import sys

import keras
import numpy as np

from deepvideo_tf.data.input.pipeline import make_dataset
from deepvideo_tf.runs.checkpoints import find_checkpoint
from deepvideo_tf.runs.run import build_untrained, load_run
from deepvideo_tf.runs.state import read_description
from deepvideo_tf.training.optimization.optimizers import compile_model


def batches(shards_dir, config):
    shares = [
        make_dataset(
            shards_dir,
            "train",
            config.clip,
            batch_size=config.global_batch_size // 2,
            training=True,
            seed=config.seed,
            worker=(number, 2),
        )
        for number in range(2)
    ]
    while True:
        for parts in zip(*(share.as_numpy_iterator() for share in shares), strict=True):
            yield [np.concatenate(part) for part in zip(*parts, strict=True)]


def main(shards_dir, workdir, steps, out):
    config = read_description(find_checkpoint(workdir, best=False)).config
    start = load_run(config.init_from)
    model = build_untrained(config, len(start.card.classes))
    model.set_weights(start.model.get_weights())
    compile_model(model, config)
    for _, (clips, targets) in zip(range(int(steps)), batches(shards_dir, config), strict=False):
        assert len(clips) == config.global_batch_size
        model.train_on_batch(clips, targets)
    before = dict(enumerate(start.model.get_weights()))
    np.savez(
        out,
        **{f"before{number}": weight for number, weight in before.items()},
        **{f"after{number}": weight for number, weight in enumerate(model.get_weights())},
        backend=keras.backend.backend(),
    )


main(*sys.argv[1:])
