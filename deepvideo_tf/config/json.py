"""Configurations to and from plain data for JSON."""

import dataclasses
import typing
from typing import Any, TypeVar

from deepvideo_tf.config.models import MODELS
from deepvideo_tf.config.train import TrainConfig
from deepvideo_tf.errors import ConfigError

T = TypeVar("T")

# Earlier versions kept these beside the other fields of every run, whatever its model: old name, name in the options.
OLD_HISTOGRAM_OPTIONS = {"histogram_words": "words", "hidden_layers": "hidden_layers"}


def to_json(config: Any) -> dict[str, Any]:
    """Return a config dataclass as plain data for `json.dump`, without `options` where the model has none."""

    def plain(items: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: value for name, value in items if name != "options" or value is not None}

    return dataclasses.asdict(config, dict_factory=plain)


def from_json(kind: type[T], data: Any, source: object) -> T:
    """Return a configuration from what `to_json` returned, in this version or an earlier one.

    Args:
        kind: a config dataclass, such as `ClipSpec`, `ShardSpec`, `TrainConfig` or `ModelCard`.
        data: plain data from `json.load`.
        source: the file it came from, for messages.

    Returns:
        A `kind`.

    Raises:
        ConfigError: `data` is not such a configuration.
    """
    if kind is TrainConfig and isinstance(data, dict):
        data = _upgraded(data)
    hints = typing.get_type_hints(kind)
    names = [item.name for item in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if not isinstance(data, dict) or not set(data) <= set(names):
        found = sorted(set(data) - set(names)) if isinstance(data, dict) else type(data).__name__
        raise ConfigError(f"{source}: expected a {kind.__name__} with {', '.join(sorted(names))}. Received: {found}")
    values = {name: _value(hints[name], value, source) for name, value in data.items()}
    try:
        return kind(**values)
    except (TypeError, ConfigError) as error:
        raise ConfigError(f"{source}: {error}") from None


def _value(hint: Any, value: Any, source: object) -> Any:
    """Return a field's value from its plain data: a dataclass within the dataclass, a tuple, or the data itself."""
    nested = [kind for kind in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(kind)]
    if nested and value is not None:
        return from_json(nested[0], value, source)  # type: ignore[arg-type]
    return tuple(value) if isinstance(value, list) else value


def _upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """Return the data of a `TrainConfig` of an earlier version as of this one."""
    old = {name: data[name] for name in OLD_HISTOGRAM_OPTIONS if name in data}
    if not old:
        return data
    data = {name: value for name, value in data.items() if name not in old}
    defaults = MODELS.get(data.get("model", TrainConfig.model))
    if defaults is not None and defaults.options is not None:
        data["options"] = {OLD_HISTOGRAM_OPTIONS[name]: value for name, value in old.items()}
    return data
