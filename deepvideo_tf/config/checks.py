"""Checks of single values, and dataclass fields that carry their check.

A config dataclass declares its fields with `whole`, `number`, `choice` and `switch`, and calls `check_fields` when it
is made. Programs generate their flags from the same fields (`deepvideo_tf.cli.ConfigFlags`).
"""

import dataclasses
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from deepvideo_tf.errors import ConfigError


def check_int(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raise ConfigError, which names the argument, unless `value` is an integer in [least, most]."""
    is_int = isinstance(value, int) and not isinstance(value, bool)
    if not is_int or value < least or (most is not None and value > most):  # type: ignore[operator]
        range_text = f"{least} or more" if most is None else f"from {least} to {most}"
        raise ConfigError(f"{name} must be a whole number, {range_text}. Received: {value!r}")


def check_number(
    name: str, value: object, above: float | None = None, least: float | None = None, below: float | None = None
) -> None:
    """Raise ConfigError, which names the argument, unless `value` is a finite number within the bounds."""
    bounds = ["finite"] + [f"above {above}"] * (above is not None) + [f"at least {least}"] * (least is not None)
    bounds += [f"below {below}"] * (below is not None)
    inside = (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and (above is None or value > above)
        and (least is None or value >= least)
        and value < (float("inf") if below is None else below)
    )
    if not inside:
        raise ConfigError(f"{name} must be a number, {' and '.join(bounds)}. Received: {value!r}")


def check_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise ConfigError, which names the argument, unless `value` is one of the choices."""
    names = list(choices)
    if value not in names:
        raise ConfigError(f"{name} must be one of {', '.join(names)}. Received: {value!r}")


def check_bool(name: str, value: object) -> None:
    """Raise ConfigError, which names the argument, unless `value` is a bool."""
    if not isinstance(value, bool):
        raise ConfigError(f"{name} must be true or false. Received: {value!r}")


def whole(default: int, least: int, most: int | None = None, *, flag: str | None = None) -> Any:
    """Return a field that holds an integer in [least, most]; `flag` names it in flags and messages."""
    return _field(default, partial(check_int, least=least, most=most), flag=flag)


def number(
    default: float | None, *, above: float | None = None, least: float | None = None, below: float | None = None
) -> Any:
    """Return a field that holds a finite number within the bounds; `__post_init__` sets one whose default is None."""
    return _field(default, partial(check_number, above=above, least=least, below=below))


def choice(default: str | None, choices: Iterable[str]) -> Any:
    """Return a field that holds one of the choices; `__post_init__` sets one whose default is None."""
    return _field(default, partial(check_choice, choices=tuple(choices)), choices=tuple(choices))


def switch(default: bool) -> Any:
    """Return a field that holds a bool."""
    return _field(default, check_bool)


def _field(default: object, check: Callable[[str, object], None], **metadata: object) -> Any:
    return dataclasses.field(default=default, metadata={"check": check, **metadata})


def flag_name(item: dataclasses.Field[Any]) -> str:
    """Return the name of a field's flag, which messages use too: the field's own unless it was given another."""
    return item.metadata.get("flag") or item.name


def check_fields(config: Any) -> None:
    """Raise ConfigError for the first field of a config dataclass whose value fails its check."""
    for item in dataclasses.fields(config):
        if "check" in item.metadata:
            item.metadata["check"](flag_name(item), getattr(config, item.name))
