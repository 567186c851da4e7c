"""A tower of three convolutions with batch normalization, as a module that `TOWERS` may name."""

import keras

from deepvideo_tf.models.layers import DATA_FORMAT, scaled
from deepvideo_tf.models.towers import Tower, chain


def stages(prefix, *, width, lrn_beta, is_stream):
    del lrn_beta, is_stream

    def stage(number, filters):
        return chain(
            [
                keras.layers.Conv2D(
                    scaled(filters, width),
                    3,
                    strides=2,
                    padding="same",
                    use_bias=False,
                    data_format=DATA_FORMAT,
                    name=f"{prefix}stem{number}",
                ),
                keras.layers.BatchNormalization(name=f"{prefix}bn{number}"),
                keras.layers.ReLU(name=f"{prefix}relu{number}"),
            ]
        )

    return [stage(1, 200), stage(2, 300), stage(3, 400)]


TOWER = Tower(
    stages,
    windowed=("stem1", "stem2", "stem3"),
    min_crop_size_px=8,
    head="average",
    pixels="normalize",
    scale=1 / 128,
    offset=-1.0,
)
