"""Flags from config dataclasses, in a program of two dataclasses."""

import re
import subprocess
import sys

import pytest

from deepvideo_tf.cli import field_texts
from deepvideo_tf.config import ClipSpec, DecodeLimits, HistogramConfig, ProcessSpec, ShardSpec, TrainConfig
from tests.support.programs import one_line

PROGRAM = '''"""Bakes cakes."""

from dataclasses import dataclass

from deepvideo_tf import cli
from deepvideo_tf.config.checks import check_fields, choice, number, switch, whole


@dataclass(frozen=True)
class Oven:
    """An oven.

    Args:
        heat: upper and lower heat,
            `fan`, or `both`.
        degrees: temperature, above 0.
        light: whether the light is on.
        name: what it is called.

    Raises:
        ConfigError: a field is outside its range.
    """

    heat: str = choice("fan", ("fan", "both"))
    degrees: float = number(180.0, above=0)
    light: bool = switch(True)
    name: str | None = None

    def __post_init__(self):
        check_fields(self)


@dataclass(frozen=True)
class Cake:
    """A cake.

    Args:
        layers: number of layers, 1 to 9.
        filling: not a flag.
    """

    layers: int = whole(2, 1, 9, flag="cake_layers")
    filling: str = "cream"

    def __post_init__(self):
        check_fields(self)


OVEN = cli.ConfigFlags(Oven, changes={"degrees": {"default": None, "note": "By default as in the recipe."}})
CAKE = cli.ConfigFlags(Cake, only=("layers",))


def main():
    print(OVEN.config(Oven(degrees=150.0)))
    print(CAKE.config(filling="jam"))
    print(OVEN["degrees"].value)


if __name__ == "__main__":
    cli.run(main)
'''


@pytest.fixture(scope="module")
def bake(tmp_path_factory):
    path = tmp_path_factory.mktemp("bake") / "bake.py"
    path.write_text(PROGRAM)
    return lambda *flags: subprocess.run([sys.executable, path, *flags], capture_output=True, text=True, check=False)


def test_flags_have_the_names_defaults_and_texts_of_the_fields(bake):
    text = " ".join(bake("--help").stdout.split())
    assert "--heat: <fan|both>: Upper and lower heat, fan, or both. (default: 'fan')" in text
    assert "--degrees: Temperature, above 0. By default as in the recipe. (a number)" in text
    assert "--[no]light: Whether the light is on. (default: 'true')" in text
    assert "--name: What it is called." in text
    assert "--cake_layers: Number of layers, 1 to 9. (default: '2') (an integer)" in text
    assert set(re.findall(r" --(\S+):", text)) == {"heat", "degrees", "[no]light", "name", "cake_layers"}


def test_a_flag_that_is_not_given_leaves_the_base_as_it_is(bake):
    assert bake().stdout.splitlines() == [
        "Oven(heat='fan', degrees=150.0, light=True, name=None)",
        "Cake(layers=2, filling='jam')",
        "None",
    ]


def test_flags_set_their_fields(bake):
    assert bake("--heat=both", "--degrees=20", "--nolight", "--name=Ada", "--cake_layers=3").stdout.splitlines() == [
        "Oven(heat='both', degrees=20.0, light=False, name='Ada')",
        "Cake(layers=3, filling='jam')",
        "20.0",
    ]


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--heat=gas", ["--heat=gas", "<fan|both>"]),
        ("--degrees=-1", ["degrees must be a number, finite and above 0. Received: -1.0"]),
        ("--cake_layers=10", ["cake_layers must be a whole number, from 1 to 9. Received: 10"]),
        ("--layers=1", ["layers"]),
        ("--filling=jam", ["filling"]),
    ],
)
def test_a_wrong_value_is_one_line(bake, flag, words):
    one_line(bake(flag), *words)


@pytest.mark.parametrize("kind", [ClipSpec, DecodeLimits, HistogramConfig, ProcessSpec, ShardSpec, TrainConfig])
def test_every_field_has_a_text_that_makes_sentences(kind):
    texts = field_texts(kind)
    assert list(texts) == list(kind.__dataclass_fields__)
    assert all(text.endswith(".") and "\n" not in text for text in texts.values())
