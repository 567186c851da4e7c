"""The numbers of the paper (sections 3.1 and 3.2) at width 1, and what every model must do."""

import re

import pytest

import deepvideo_tf as dv
from deepvideo_tf.config import FUSIONS, MODEL_NAMES
from tests.support.repository import REPOSITORY

PARAMETERS = {
    "single_frame": 73_908_071,
    "early_fusion": 74_221_703,
    "slow_fusion": 75_511_751,
    "late_fusion": 125_288_295,
    "multires": 129_035_495,
    "multires_slow_fusion": 132_242_855,
}


# How each fusion sees time: frames or responses that conv1, conv2 and conv3 join, and columns that reach the head.
TIME = {
    "single_frame": (1, 1, 1, 1),
    "early_fusion": (10, 1, 1, 1),
    "late_fusion": (1, 1, 1, 2),
    "slow_fusion": (4, 2, 2, 1),
}


def parameters_by_hand(name):
    """Weights and biases, from the sizes in section 3.1 and 3.2 alone."""
    streams = 2 if name.startswith("multires") else 1
    fusion = name.removeprefix("multires").removeprefix("_")
    time1, time2, time3, columns = TIME.get(fusion, TIME["single_frame"])
    tower = (
        (11 * 11 * 3 * time1 + 1) * 96
        + (5 * 5 * 96 * time2 + 1) * 256
        + (3 * 3 * 256 * time3 + 1) * 384
        + (3 * 3 * 384 + 1) * 384
        + (3 * 3 * 384 + 1) * 256
    )
    return streams * tower + (7 * 7 * 256 * streams * columns + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 487


class Sizes:
    """What the tests look at of a model, without the half gigabyte of its weights."""

    def __init__(self, model):
        self.parameters = model.count_params()
        self.clip = model.input_shape[1:]
        outputs = {layer.name: layer.output for layer in model.layers}
        self.shapes = {name: output.shape[1:] for name, output in outputs.items() if not isinstance(output, list)}
        self.kernels = {layer.name: layer.kernel.shape for layer in model.layers if layer.weights}
        self.described = {layer.name: layer for layer in dv.describe(model)}


@pytest.fixture(scope="module")
def full_size():
    """The sizes of all models at the paper's width."""
    return {name: Sizes(dv.build_model(name, 487)) for name in MODEL_NAMES}


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_parameters(full_size, name):
    assert full_size[name].parameters == parameters_by_hand(name)
    assert full_size[name].parameters == PARAMETERS.get(name, full_size[name].parameters)
    assert sum(layer.parameters for layer in full_size[name].described.values()) == full_size[name].parameters


def test_the_table_of_the_readme(full_size):
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|.*\| ([\d,]+) \| ([\d,]+) million \|$", readme, re.M)
    told = {
        name.strip("`"): (int(parameters.replace(",", "")), int(millions.replace(",", "")))
        for names, parameters, millions in rows
        for name in names.split(", ")
    }
    assert told == {
        name: (sizes.parameters, round(sum(layer.multiply_adds for layer in sizes.described.values()) / 1e6))
        for name, sizes in full_size.items()
    }


def feature_maps(sizes, prefix=""):
    layers = ("conv1", "norm1", "pool1", "conv2", "norm2", "pool2", "conv3", "conv4", "conv5")
    return [sizes.shapes[prefix + layer] for layer in layers]


def test_feature_maps_of_the_full_frame(full_size):
    sizes = full_size["single_frame"]
    assert sizes.clip == (1, 170, 170, 3)
    assert feature_maps(sizes) == [
        (54, 54, 96), (54, 54, 96), (27, 27, 96),
        (27, 27, 256), (27, 27, 256), (14, 14, 256),
        (14, 14, 384), (14, 14, 384), (14, 14, 256),
    ]  # fmt: skip
    assert sizes.shapes["pool5"] == (7, 7, 256)
    assert [sizes.shapes[name] for name in ("fc6", "fc7", "logits")] == [(4096,), (4096,), (487,)]


@pytest.mark.parametrize(
    ("name", "stream"),
    [("multires", "fovea"), ("multires", "context"), ("fovea", "fovea"), ("context", "context")],
)
def test_feature_maps_of_a_stream(full_size, name, stream):
    sizes = full_size[name]
    assert sizes.clip == (1, 178, 178, 3)
    assert sizes.shapes[stream] == (89, 89, 3)
    assert feature_maps(sizes, f"{stream}_") == [
        (27, 27, 96), (27, 27, 96), (14, 14, 96),
        (14, 14, 256), (14, 14, 256), (7, 7, 256),
        (7, 7, 384), (7, 7, 384), (7, 7, 256),
    ]  # fmt: skip
    assert f"{stream}_pool5" not in sizes.shapes
    assert sizes.described["flatten"].shape == (7 * 7 * (512 if name == "multires" else 256),)


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_time_extents(full_size, name):
    """The columns that conv1, conv2 and conv3 answer for; slow fusion: 10 -> 4 -> 2 -> 1 (section 3.1)."""
    prefix = "fovea_" if "multires" in name else f"{name}_" if name in ("fovea", "context") else ""
    described = full_size[name].described
    frames = described["frames"].shape[0]
    extents = tuple(described[f"{prefix}conv{number}"].shape[0] for number in (1, 2, 3, 4, 5))
    expected = {
        "early_fusion": (10, (1, 1, 1, 1, 1)),
        "late_fusion": (2, (2, 2, 2, 2, 2)),
        "slow_fusion": (10, (4, 2, 1, 1, 1)),
    }
    fusion = name.removeprefix("multires_")
    assert (frames, extents) == expected.get(fusion, (1, (1, 1, 1, 1, 1)))


def test_first_filters(full_size):
    kernels = {name: full_size[name].kernels["conv1"] for name in FUSIONS}
    assert kernels["single_frame"] == kernels["late_fusion"] == (11, 11, 3, 96)
    assert kernels["early_fusion"] == (11, 11, 3 * 10, 96)
    assert kernels["slow_fusion"] == (11, 11, 3 * 4, 96)
