"""Every model by its name, as the programs' `--model` flag spells it, and what it says about itself.

A new model is one file with a builder under `@register_model`, and one line in `MODEL_MODULES`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepvideo_tf.config import TRAINABLE_NAMES, check_choice
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.models import MODEL_EXTRAS, MODEL_MODULES
from deepvideo_tf.models.info import ModelInfo

if TYPE_CHECKING:
    import keras

DEFAULT_TOWER = "alexnet"

Builder = Callable[..., "keras.Model"]


@dataclass(frozen=True)
class RegisteredModel:
    """A model that can be built and described.

    Args:
        build: from the number of classes, and keyword arguments of its own, to a `keras.Model`.
        info: from the name of a tower to its `ModelInfo`.
    """

    build: Builder
    info: Callable[[str], ModelInfo]


_MODELS: dict[str, RegisteredModel] = {}


def register_model(name: str, info: Callable[[str], ModelInfo]) -> Callable[[Builder], Builder]:
    """Register the builder that it decorates; `info` is `RegisteredModel.info`."""

    def register(build: Builder) -> Builder:
        _MODELS[name] = RegisteredModel(build, info)
        return build

    return register


def _registered(name: str) -> RegisteredModel:
    try:
        importlib.import_module(MODEL_MODULES[name])
    except ImportError:
        if name not in MODEL_EXTRAS:
            raise
        raise ModelFileError(f"{name} needs the extra: pip install 'deepvideo-tf[{MODEL_EXTRAS[name]}]'") from None
    return _MODELS[name]


def build_model(name: str, num_classes: int, **arguments: Any) -> keras.Model:
    """Build a model by its name (sections 3.1 and 3.2).

    Args:
        name: one of `deepvideo_tf.config.TRAINABLE_NAMES`.
        num_classes: number of logits.
        **arguments: what its builder takes. Of a network: `num_frames` and `crop_size_px` (None for the paper's),
            `width`, `dropout`, `lrn_beta` and `tower`, as `single_frame` and `multires` describe them. Of
            `feature_histograms`: `num_words`, `hidden_layers`, `width` and `dropout`.

    Returns:
        A `keras.Model` to logits, float32 `[batch, num_classes]`; of a network, from `clip`, uint8
        `[batch, time, height, width, 3]`.

    Raises:
        ConfigError: (a ValueError) no such model, or an argument outside its range.
        ModelFileError: the packages that the model needs are missing.
    """
    check_choice("model", name, TRAINABLE_NAMES)
    return _registered(name).build(num_classes, **arguments)


def model_info(name: str, tower: str = DEFAULT_TOWER) -> ModelInfo:
    """Return what a model says about itself, without building it. Errors are as of `build_model`."""
    check_choice("model", name, MODEL_MODULES)
    return _registered(name).info(tower)


def full_name(name: str, tower: str) -> str:
    """Return `keras.Model.name` of a built model, from which `info_of` finds its name and tower."""
    return name if tower == DEFAULT_TOWER else f"{name}-{tower}"


def info_of(model: keras.Model) -> ModelInfo:
    """Return what a built model says about itself, by its name: also of a clone and of one that Keras loaded.

    Args:
        model: a model of this package.

    Returns:
        `ModelInfo`.

    Raises:
        ConfigError: (a ValueError) the model is not one of this package.
    """
    name, _, tower = model.name.partition("-")
    if name not in MODEL_MODULES:
        raise ConfigError(f"model must be a model of this package, as built. Received: {model.name}")
    return model_info(name, tower or DEFAULT_TOWER)
