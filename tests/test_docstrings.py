"""What the docstrings promise to hold: every argument, every field, what comes back, and the paper's section."""

import dataclasses
import importlib
import inspect
import operator
import re
import subprocess
import sys

import pytest

import deepvideo_tf as dv
from tests.support.repository import REPOSITORY

DRAWN = [
    f"plots.{name}"
    for name, value in vars(dv.plots).items()
    if inspect.isfunction(value)
    and value.__module__.startswith("deepvideo_tf.visualization.plots")
    and not name.startswith("_")
]
PUBLIC = sorted({*dv.__all__, *DRAWN} - {"__version__", "errors", "plots"})

# The names that have a section of the paper; the others are about files, formats and machines, of which it is silent.
SECTIONS = {
    "ClipSpec": {"3.1", "3.3"},
    "HitAtK": {"4.1"},
    "ShardSpec": {"3.3", "4.1"},
    "SlowFusionStream": {"3.1"},
    "TrainConfig": {"3.3", "4.1", "4.2"},
    "audit_splits": {"4.1"},
    "build_model": {"3.1", "3.2"},
    "early_fusion": {"3.1"},
    "evaluate": {"4.1"},
    "late_fusion": {"3.1"},
    "make_dataset": {"3.3"},
    "multires": {"3.2"},
    "predict_video": {"4.1"},
    "read_sports1m": {"4.1"},
    "read_ucf101": {"4.2"},
    "single_frame": {"3.1"},
    "slow_fusion": {"3.1"},
    "train": {"3.3"},
}


def sections(docstring):
    """The docstring's sections: the name of each, `Args` say, to its text."""
    parts = re.split(r"^(Args|Attributes|Returns|Yields|Raises):\n", docstring, flags=re.M)
    return dict(zip(["summary", *parts[1::2]], parts[::2], strict=True))


def described(text):
    """The arguments that an `Args` section describes, in its order."""
    return re.findall(r"^    (\*{0,2}\w+): \S", text, re.M)


def arguments(function):
    kinds = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    parameters = inspect.signature(function).parameters.values()
    return [kinds.get(parameter.kind, "") + parameter.name for parameter in parameters]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_say_all(name):
    value = operator.attrgetter(name)(dv)
    parts = sections(inspect.getdoc(value))
    assert parts["summary"].splitlines()[0].endswith((".", ":")), "the summary is one line"
    assert described(parts.get("Args", "")) == arguments(value)
    if inspect.isfunction(value):
        gives = re.search(r"^    +(return|yield) \S", inspect.getsource(value), re.M)
        assert bool(gives) == bool(parts.keys() & {"Returns", "Yields"})
    assert SECTIONS.get(name, set()) <= set(re.findall(r"\b[34]\.[123]\b", inspect.getdoc(value)))


def test_dataclasses_describe_their_fields():
    """Which neither ruff nor pydoclint look at."""
    seen = 0
    for path in sorted((REPOSITORY / "deepvideo_tf").rglob("*.py")):
        if "@dataclass" not in path.read_text(encoding="utf-8"):
            continue
        name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for kind in vars(importlib.import_module(name)).values():
            is_class = isinstance(kind, type) and dataclasses.is_dataclass(kind)
            if is_class and kind.__module__ == name and not kind.__name__.startswith("_"):
                seen += 1
                fields = [field.name for field in dataclasses.fields(kind)]
                assert described(sections(inspect.getdoc(kind)).get("Args", "")) == fields, kind
    assert seen > 20


def test_pydoclint_sees_what_is_missing(tmp_path):
    """`make lint` runs it; here its settings meet a docstring that lacks an argument and its result."""
    (tmp_path / "bad.py").write_text(
        'def area(height_px, width_px):\n    """Area.\n\n    Args:\n        height_px: whole number.\n    """\n'
        "    return height_px * width_px\n"
    )
    command = [sys.executable, "-m", "pydoclint.main", f"--config={REPOSITORY / 'pyproject.toml'}", tmp_path / "bad.py"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert set(re.findall(r"DOC\d+", result.stdout + result.stderr)) == {"DOC101", "DOC103", "DOC201"}
