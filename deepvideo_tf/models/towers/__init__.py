"""Towers: from frames to feature maps, one file each.

A new tower is a module with a `TOWER`, and one line in `TOWERS`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepvideo_tf.config import check_choice

if TYPE_CHECKING:
    import keras

    Columns = list[keras.KerasTensor]
    Stage = Callable[[Columns], Columns]

# Every tower and its module, imported when the tower is first asked for.
TOWERS = {"alexnet": "deepvideo_tf.models.towers.alexnet"}


@dataclass(frozen=True)
class Tower:
    """A tower and what others need to know of its layers.

    A tower takes a list of columns, one tensor per moment in time, and applies the same layers to each, so that the
    columns share their weights. Its layers' names all begin with the `prefix` that it is built with.

    Args:
        stages: builds the layers: from `prefix`, `width` (scale of the numbers of filters), `lrn_beta` (exponent of
            local response normalization, where the tower has any) and `is_stream` (whether it sees half of the height
            and width, as a stream of the two-stream network, section 3.2) to three functions from columns to columns.
        windowed: the first convolution of each stage, without the prefix. Neighboring columns may be joined along their
            channels before it, so it must be a full one. The first is the tower's first convolution.
        min_crop_size_px: the smallest height and width of which the last feature map still has a pixel.
        head: the head that goes with it, one of `heads.HEADS`.
        pixels: name of the layer that normalizes raw pixels.
        scale: of this layer, which outputs `scale * pixel + offset`.
        offset: of this layer.
        fitted: the layers that `initialize_from_clips` fits to data, in order: all that are followed by an activation,
            and none that are followed by batch normalization, which takes their scale and mean away.
        low_rank_convs: convolutions, with a bias, whose rank may be reduced.
        float32_layers: parts of the names of layers that are not quantized.
    """

    stages: Callable[..., Sequence[Stage]]
    windowed: tuple[str, str, str]
    min_crop_size_px: int
    head: str
    pixels: str
    scale: float
    offset: float
    fitted: tuple[str, ...] = ()
    low_rank_convs: tuple[str, ...] = ()
    float32_layers: tuple[str, ...] = ()


def load_tower(name: str) -> Tower:
    """Return a tower by its name; raise ConfigError if there is none."""
    check_choice("tower", name, TOWERS)
    return importlib.import_module(TOWERS[name]).TOWER


def chain(layers: Sequence[keras.layers.Layer]) -> Stage:
    """Make a stage of layers that are applied one after the other."""

    def stage(columns: Columns) -> Columns:
        for layer in layers:
            columns = [layer(column) for column in columns]
        return columns

    return stage
