"""`deepvideo-describe` as a user runs it."""

from deepvideo_tf.config import FUSIONS, MODEL_NAMES


def test_describe_shows_every_layer_of_one_model(run_program):
    lines = run_program("describe", "--model=slow_fusion").stdout.splitlines()
    assert lines[0] == "slow_fusion, 487 classes, width 1"
    cells = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert cells["conv1"] == ["4x54x54x96", "139,488", f"{4 * 54 * 54 * 11 * 11 * 12 * 96:,}"]
    assert cells["conv3_windows"] == ["1x14x14x512", "0", "0"]
    assert cells["total"][0] == "75,511,751"


def test_describe_shows_all_models_side_by_side(run_program):
    outputs, parameters, multiply_adds = (
        {line.split()[0]: line.split()[1:] for line in table.splitlines() if line}
        for table in run_program("describe", "--width=0.1", "--num_classes=5").stdout.split("\n\n")[1::2]
    )
    assert set(outputs) == set(parameters) == set(multiply_adds) == {"model", *MODEL_NAMES}
    assert outputs["slow_fusion"][:4] == ["10x170x170x3", "4x54x54x10", "2x27x27x26", "1x14x14x38"]
    assert outputs["multires_slow_fusion"][:2] == ["10x178x178x3", "4x27x27x10"]
    both, one = (int(parameters[name][0].replace(",", "")) for name in ("multires", "fovea"))
    assert both == 2 * one == 2 * (11 * 11 * 3 + 1) * 10
    assert [multiply_adds[name][-1] for name in FUSIONS] == ["1.00"] * 4
    assert float(multiply_adds["fovea"][-1]) > float(multiply_adds["multires"][-1]) > 1
