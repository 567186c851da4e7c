import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepvideo_tf.config import (
    MODEL_CLIPS,
    MODEL_NAMES,
    ClipSpec,
    ModelCard,
    ShardSpec,
    TrainConfig,
    from_json,
    to_json,
)
from deepvideo_tf.errors import ConfigError


def test_the_papers_clips():
    """Sections 3.1 to 3.3: frames, their distance, and the region they are cut to."""
    assert MODEL_CLIPS["single_frame"] == ClipSpec(num_frames=1, frame_stride=1, crop_size_px=170)
    assert MODEL_CLIPS["early_fusion"] == ClipSpec(num_frames=10, frame_stride=1, crop_size_px=170)
    assert MODEL_CLIPS["late_fusion"] == ClipSpec(num_frames=2, frame_stride=15, crop_size_px=170)
    assert MODEL_CLIPS["slow_fusion"] == ClipSpec(num_frames=10, frame_stride=1, crop_size_px=170)
    assert MODEL_CLIPS["multires"] == ClipSpec(num_frames=1, frame_stride=1, crop_size_px=178)
    assert MODEL_CLIPS["multires_slow_fusion"] == ClipSpec(num_frames=10, frame_stride=1, crop_size_px=178)


def test_the_papers_learning():
    """Section 3.3, and the frames of 200 x 200."""
    config = TrainConfig()
    assert (config.optimizer, config.momentum, config.weight_decay) == ("sgd", 0.9, 5e-4)
    assert (config.learning_rate, config.schedule) == (1e-3, "plateau")
    assert (config.global_batch_size, config.dropout, config.lrn_beta) == (32, 0.5, 0.5)
    assert ShardSpec().frame_size_px == 200
    assert ShardSpec().clips_per_video == 20
    assert MODEL_CLIPS["late_fusion"].span <= ShardSpec().clip_frames


def test_the_optimiser_is_the_papers_but_for_the_baseline():
    assert TrainConfig().optimizer == TrainConfig(model="single_frame").optimizer == "sgd"
    assert TrainConfig(model="feature_histograms").optimizer == "adamw"
    assert TrainConfig(model="feature_histograms", optimizer="sgd").optimizer == "sgd"
    assert TrainConfig(model="feature_histograms").clip == ClipSpec(num_frames=16, crop_size_px=170)


@pytest.mark.parametrize("model", MODEL_NAMES)
def test_a_config_takes_the_clip_of_its_model(model):
    assert TrainConfig(model=model).clip == MODEL_CLIPS[model]


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (ClipSpec, "num_frames", 0),
        (ClipSpec, "num_frames", True),
        (ClipSpec, "frame_stride", 0),
        (ClipSpec, "crop_size_px", 10),
        (ClipSpec, "flip", "no"),
        (ShardSpec, "clip_frames", 15),
        (ShardSpec, "clips_per_video", 0),
        (ShardSpec, "frame_rate_fps", 0.0),
        (ShardSpec, "frame_rate_fps", float("nan")),
        (ShardSpec, "frame_size_px", 15),
        (ShardSpec, "jpeg_quality", 101),
        (TrainConfig, "model", "resnet"),
        (TrainConfig, "width", 0),
        (TrainConfig, "width", float("inf")),
        (TrainConfig, "dropout", 1.0),
        (TrainConfig, "lrn_beta", 0.0),
        (TrainConfig, "optimizer", "lion"),
        (TrainConfig, "schedule", "step"),
        (TrainConfig, "learning_rate", -1.0),
        (TrainConfig, "weight_decay", -0.1),
        (TrainConfig, "global_batch_size", 0),
        (TrainConfig, "num_epochs", 1.5),
        (TrainConfig, "top_dropout", 1.0),
        (TrainConfig, "finetune", "two"),
        (TrainConfig, "cached_views", -1),
        (TrainConfig, "loss", "hinge"),
        (TrainConfig, "label_smoothing", 1.0),
        (TrainConfig, "class_weights", "equal"),
        (TrainConfig, "plateau_epochs", 0),
        (TrainConfig, "warmup_steps", -1),
        (TrainConfig, "warmup_steps", 0.5),
        (TrainConfig, "max_gradient_norm", -1.0),
        (TrainConfig, "max_gradient_norm", float("inf")),
        (TrainConfig, "mixup_alpha", -0.1),
        (TrainConfig, "colour_jitter", 1.0),
        (TrainConfig, "dtype_policy", "int8"),
        (TrainConfig, "seed", -1),
    ],
)
def test_bad_values_are_refused_by_name(kind, field, value):
    with pytest.raises(ConfigError, match=rf"^{field} must .*Received: ") as caught:
        kind(**{field: value})
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["top", "top3", "all"])
def test_fine_tuning_begins_from_a_run_and_keeps_a_tenth_of_the_top(mode):
    """Section 4.2: dropout on the top layer with as little as 10% of the units kept."""
    with pytest.raises(ConfigError, match=f"^init_from must be the folder of a run for finetune={mode}"):
        TrainConfig(finetune=mode)
    with pytest.raises(ConfigError, match="^finetune must be given with init_from: one of top"):
        TrainConfig(init_from="run")
    assert TrainConfig(init_from="run", finetune=mode).top_dropout == 0.9
    assert TrainConfig(init_from="run", finetune=mode, top_dropout=0.2).top_dropout == 0.2
    assert TrainConfig(init_from="run", finetune="scratch").top_dropout == TrainConfig().top_dropout == 0.5


@given(
    st.builds(
        TrainConfig,
        model=st.sampled_from(MODEL_NAMES),
        clip=st.builds(ClipSpec, num_frames=st.integers(1, 50), crop_size_px=st.integers(11, 400), flip=st.booleans()),
        width=st.floats(0.01, 7.9),
        learning_rate=st.floats(1e-9, 10),
        seed=st.integers(0, 2**31 - 1),
    )
)
def test_json_gives_the_same_config(config):
    assert from_json(TrainConfig, json.loads(json.dumps(to_json(config))), "test") == config


def test_json_gives_the_same_card():
    card = ModelCard("multires", ("Tanzen", "Über"), ClipSpec(), ShardSpec(clips_per_video=3))
    assert from_json(ModelCard, json.loads(json.dumps(to_json(card))), "test") == card


@pytest.mark.parametrize("data", [[], {"colour": 1}, {"clip": {"num_frames": -1}}, {"width": "wide"}, None])
def test_bad_json_names_its_file(data):
    with pytest.raises(ConfigError, match=r"^run/config.json: "):
        from_json(TrainConfig, data, "run/config.json")


def test_a_card_needs_classes():
    with pytest.raises(ConfigError, match="classes"):
        from_json(ModelCard, {"model": "multires", "clip": {}}, "model.json")
