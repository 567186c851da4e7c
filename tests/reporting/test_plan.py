"""What a report runs, and how large its nets become."""

import pytest

import deepvideo_tf as dv
from deepvideo_tf.config import MODEL_NAMES
from deepvideo_tf.errors import ConfigError, ModelFileError
from deepvideo_tf.reporting import plan as planning
from deepvideo_tf.reporting.plan import Plan, TransferSource, build_steps, crop_size_px, make_plan, run_steps
from deepvideo_tf.reporting.presets import NETWORKS, PRESETS, Preset
from tests.support.repository import real_data

PLAN = Plan(width=0.25, num_epochs=3, budget_minutes=30, estimated_minutes=20)


def test_crops_are_the_papers_part_of_the_frame():
    assert [crop_size_px(name, 200) for name in ("single_frame", "multires", "feature_histograms")] == [170, 178, 170]
    assert [crop_size_px(name, 100) for name in ("slow_fusion", "fovea")] == [86, 90]
    assert all(crop_size_px(name, size) <= size for name in MODEL_NAMES for size in range(16, 300))


@pytest.fixture
def paces(monkeypatch):
    """Seconds of an epoch by width, and of all else, in place of those that this machine takes."""
    epoch_s = {1.0: 1000.0, 0.5: 300.0, 0.25: 100.0, 0.125: 40.0}
    monkeypatch.setattr(planning, "estimate_seconds", lambda train, test, width: (epoch_s[width], 10.0))


@pytest.mark.parametrize(
    ("left_s", "width", "epochs"), [(1e6, 1.0, 20), (7000, 0.5, 20), (2900, 0.25, 20), (1000, 0.125, 5), (60, 0.125, 1)]
)
def test_the_widest_nets_that_fit_and_then_fewer_epochs(paces, small_shards, left_s, width, epochs):
    plan = make_plan(Preset("", ""), small_shards, 10, left_s=left_s)
    assert plan.width == width
    if left_s == 1000:
        assert 1 < plan.num_epochs < 20
    else:
        assert plan.num_epochs == epochs
    if left_s > 60:
        assert plan.estimated_minutes * 60 <= left_s


def test_a_net_to_fine_tune_fixes_the_width(paces, small_shards):
    assert make_plan(Preset("", ""), small_shards, 10, left_s=1e6, width=0.25).width == 0.25


def test_every_run_is_trained_before_it_is_evaluated_and_compared(small_shards):
    steps = run_steps(Preset("", ""), PLAN, "report", small_shards)
    trained = []
    for step in steps:
        flags = dict(argument.removeprefix("--").partition("=")[::2] for argument in step.arguments)
        if step.program == "deepvideo-train":
            assert flags["model"] == step.makes.parent.name
            trained.append(flags["workdir"])
        needed = [flags["workdir"]] if "ensemble" not in flags else flags["ensemble"].split(",")
        assert set(needed) <= set(trained)
        assert flags.get("against", trained[0]) in trained
    assert [path.rpartition("/")[2] for path in trained] == ["feature_histograms", *NETWORKS]
    assert sum(step.program == "deepvideo-evaluate" for step in steps) == 9  # the rows of Table 1


@pytest.mark.parametrize(("width", "runs"), [(0.25, 3), (0.5, 4)])
def test_scratch_is_trained_again_only_where_table_1_has_another_net(small_shards, width, runs):
    source = TransferSource("pretrained", "slow_fusion", width)
    steps = run_steps(Preset("", ""), PLAN, "report", small_shards, init_from=source)
    transfer = [step for step in steps if "--init_from=pretrained" in step.arguments]
    assert len(transfer) == runs
    assert all(f"--width={width}" in step.arguments for step in transfer)


def test_pages_without_frames_ask_for_no_pictures_of_them(small_shards):
    def asked(**arguments):
        steps = run_steps(Preset("", ""), PLAN, "report", small_shards, **arguments)
        flags = [flag for step in steps for flag in step.arguments if flag.startswith("--pictures=")]
        return set(",".join(flag.partition("=")[2] for flag in flags).split(","))

    assert {"saliency", "views", "predictions", "filters"} <= asked()
    assert asked() - asked(with_frames=False) == set(planning.FRAME_PICTURES)


def test_the_source_must_see_the_same_crops(tiny_run):
    source = planning.read_transfer_source(tiny_run, 42)
    assert (source.model, source.width) == ("single_frame", 0.02)
    with pytest.raises(ConfigError, match="expected a run that sees 86 px of the 100 px frames .* one of 36 px"):
        planning.read_transfer_source(tiny_run, 100)
    with pytest.raises(ModelFileError):
        planning.read_transfer_source("nowhere", 36)


@pytest.mark.long
def test_the_baseline_cannot_be_fine_tuned(judged_shards, tmp_path):
    config = dv.TrainConfig(
        model="feature_histograms",
        clip=dv.ClipSpec(num_frames=16, crop_size_px=32, flip=False),
        width=0.02,
        options=dv.HistogramConfig(words=4),
        cached_views=1,
        num_epochs=1,
    )
    dv.train(config, judged_shards, tmp_path / "run")
    with pytest.raises(ConfigError, match="the run's model must be one of .* Received: 'feature_histograms'"):
        planning.read_transfer_source(tmp_path / "run", 36)


def test_presets_hold_together():
    for preset in PRESETS.values():
        assert preset.title
        assert ("ynthetic" in preset.about) == preset.is_synthetic
        steps = build_steps(preset, "DATA", "SHARDS", 2)
        assert len({step.makes for step in steps}) == len(steps)
        assert not any("{" in flag for step in steps for flag in step.arguments)
        assert set(preset.learning_rates) >= {"single_frame", "feature_histograms"}


def test_the_groups_of_the_depth_videos_hold_each_class_once():
    classes = (real_data("utd-depth") / "classes.txt").read_text().split()
    grouped = [name for names in PRESETS["utd-depth"].groups.values() for name in names]
    assert sorted(grouped) == sorted(classes)


@pytest.mark.parametrize(("epochs", "expected"), [(1, set()), (10**5, {"--warmup_steps=100"})])
def test_warm_up_leaves_steps_to_learn_in(small_shards, epochs, expected):
    steps = run_steps(Preset("", ""), Plan(0.25, epochs, 10, 10), "report", small_shards)
    assert {flag for step in steps for flag in step.arguments if flag.startswith("--warmup")} == expected
