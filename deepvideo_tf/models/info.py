"""What a model says about itself, so that no other code has to know the names of its layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deepvideo_tf.config import FINETUNE_MODES, check_choice
from deepvideo_tf.errors import ConfigError

if TYPE_CHECKING:
    import keras
    import numpy as np

    Inputs = Callable[[np.ndarray], np.ndarray]

FULL_FRAME = "frame"  # the stream of a model with one tower over whole frames


@dataclass(frozen=True)
class LayerGroup:
    """The layers that a fine-tuning mode trains (section 4.2).

    Args:
        layers: their names, in the order in which they are called, up to the logits.
        features: name of the layer whose output the first of them takes.
    """

    layers: tuple[str, ...]
    features: str


@dataclass(frozen=True)
class ModelInfo:
    """The layers of a model by their purpose, and how it is used.

    Args:
        name: name of the model in the registry.
        section: section of the paper that describes it.
        head: layer of the logits.
        tower: name of its tower; empty if it has none.
        groups: by fine-tuning mode that freezes layers, the ones that are trained.
        first_convs: by stream (`context` and `fovea`, or `frame`), the first convolution.
        windowed: for each stage of the tower, its first convolution in each stream.
        pixels: the layer that normalizes raw pixels, a `keras.layers.Rescaling`.
        frames: the layer that splits the normalized clip into frames.
        views: by stream, the layer that makes its view of a frame.
        vector: the layer that makes a vector of the towers' joined feature maps.
        joined: the first layer with weights after that.
        fitted: the layers that `initialize_from_clips` fits to data, first to last; those in one tuple lie side by side
            in the streams.
        low_rank_dense: dense layers whose rank may be reduced.
        low_rank_convs: convolutions whose rank may be reduced.
        float32_layers: parts of the names of layers that are not quantized.
        export_obstacle: why the model cannot be exported; None if it can.
        inputs: from the model, with its weights, to a function from uint8 clips `[batch, time, height, width, 3]` to
            what the model takes.
    """

    name: str
    section: str
    head: str
    tower: str = ""
    groups: Mapping[str, LayerGroup] = field(default_factory=dict)
    first_convs: Mapping[str, str] = field(default_factory=dict)
    windowed: tuple[tuple[str, ...], ...] = ()
    pixels: str = ""
    frames: str = ""
    views: Mapping[str, str] = field(default_factory=dict)
    vector: str = ""
    joined: str = ""
    fitted: tuple[tuple[str, ...], ...] = ()
    low_rank_dense: tuple[str, ...] = ()
    low_rank_convs: tuple[str, ...] = ()
    float32_layers: tuple[str, ...] = ()
    export_obstacle: str | None = None
    inputs: Callable[[keras.Model], Inputs] = lambda model: lambda clips: clips

    @property
    def features(self) -> str:
        """The layer whose output is a network's features: those that the mode `top` starts from."""
        return self.groups["top"].features

    def group(self, finetune: str) -> LayerGroup | None:
        """Return the layers that a fine-tuning mode trains.

        Args:
            finetune: one of `config.FINETUNE_MODES`.

        Returns:
            `LayerGroup`; None if the mode trains all layers.

        Raises:
            ConfigError: the model has no such group of layers.
        """
        check_choice("finetune", finetune, FINETUNE_MODES)
        if not FINETUNE_MODES[finetune].freezes:
            return None
        if finetune not in self.groups:
            modes = (*self.groups, *(name for name, mode in FINETUNE_MODES.items() if not mode.freezes))
            on = f" on {self.tower}" if self.tower else ""
            raise ConfigError(f"finetune must be one of {', '.join(modes)} for {self.name}{on}. Received: {finetune!r}")
        return self.groups[finetune]
