import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepvideo_tf.config import (
    MODEL_CLIPS,
    MODEL_NAMES,
    ClipSpec,
    HistogramConfig,
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
        (HistogramConfig, "hidden_layers", 3),
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
        (TrainConfig, "options", HistogramConfig()),
    ],
)
def test_bad_values_are_rejected_by_name(kind, field, value):
    with pytest.raises(ConfigError, match=rf"^{field} must .*Received: ") as caught:
        kind(**{field: value})
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_a_field_with_a_flag_of_another_name_is_named_as_the_flag():
    with pytest.raises(ConfigError, match="^histogram_words must be a whole number, from 1 to 100000. Received: 0"):
        HistogramConfig(words=0)


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


def test_json_of_a_network_has_no_options():
    data = to_json(TrainConfig())
    assert list(data)[:4] == ["model", "tower", "clip", "width"]
    assert "options" not in data


def test_json_gives_the_same_options():
    config = TrainConfig(model="feature_histograms", options=HistogramConfig(words=20, hidden_layers=2))
    data = json.loads(json.dumps(to_json(config)))
    assert data["options"] == {"words": 20, "hidden_layers": 2}
    assert from_json(TrainConfig, data, "test") == config


# As version 0.1.0 wrote it; it had `histogram_words` and `hidden_layers` for every model, and no `tower`.
OLD_JSON = {
    "model": "multires_slow_fusion",
    "clip": {"num_frames": 10, "frame_stride": 1, "crop_size_px": 90, "flip": False},
    "width": 0.25,
    "histogram_words": 850,
    "hidden_layers": 1,
    "dropout": 0.5,
    "top_dropout": 0.5,
    "lrn_beta": 0.5,
    "init_from": None,
    "finetune": "scratch",
    "cached_views": 4,
    "loss": "softmax",
    "label_smoothing": 0.0,
    "class_weights": "none",
    "optimizer": "adamw",
    "momentum": 0.9,
    "learning_rate": 0.0003,
    "schedule": "cosine",
    "plateau_epochs": 5,
    "warmup_steps": 0,
    "max_gradient_norm": 0.0,
    "weight_decay": 0.0005,
    "global_batch_size": 32,
    "num_epochs": 10,
    "colour_jitter": 0.0,
    "time_jitter": 0.0,
    "mixup_alpha": 0.0,
    "dtype_policy": "float32",
    "seed": 0,
}


def test_json_of_an_old_network_is_read():
    config = from_json(TrainConfig, OLD_JSON, "test")
    expected = TrainConfig(
        model="multires_slow_fusion",
        clip=ClipSpec(num_frames=10, crop_size_px=90, flip=False),
        width=0.25,
        optimizer="adamw",
        learning_rate=3e-4,
        schedule="cosine",
    )
    assert config == expected
    kept = {name: value for name, value in to_json(config).items() if name != "tower"}
    assert list(kept.items()) == [
        item for item in OLD_JSON.items() if item[0] not in ("histogram_words", "hidden_layers")
    ]


def test_json_of_an_old_baseline_is_read():
    data = OLD_JSON | {"model": "feature_histograms", "histogram_words": 20, "hidden_layers": 2}
    config = from_json(TrainConfig, data, "test")
    assert config.options == HistogramConfig(words=20, hidden_layers=2)
    assert from_json(TrainConfig, {"model": "feature_histograms", "hidden_layers": 2}, "test").options == (
        HistogramConfig(hidden_layers=2)
    )
    with pytest.raises(ConfigError, match=r"^run/config.json: hidden_layers must be a whole number, from 1 to 2"):
        from_json(TrainConfig, data | {"hidden_layers": 3}, "run/config.json")


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
