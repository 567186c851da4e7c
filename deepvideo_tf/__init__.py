"""Large-scale video classification with convolutional networks (Karpathy et al., CVPR 2014) in TensorFlow and Keras.

`import deepvideo_tf as dv` is instant: TensorFlow and Keras are imported by the first name that needs them (PEP 562).
The public names and their modules are listed in `__init__.pyi`, which editors and type checkers read as well.
"""

import importlib
import re
from pathlib import Path

from deepvideo_tf import errors

__version__ = "0.1.0"

_STUB = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
_HOMES = {name: module for module, name in re.findall(r"^from (\S+) import (\w+) as \2$", _STUB, re.M)}

__all__ = ["__version__", "errors", *(name for name in _HOMES if name != "errors")]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'deepvideo_tf' has no attribute {name!r}")
    home = importlib.import_module(_HOMES[name])
    # A name is something in its module, or a module in its folder.
    value = getattr(home, name) if hasattr(home, name) else importlib.import_module(f"{_HOMES[name]}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
