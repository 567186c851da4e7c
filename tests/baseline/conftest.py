"""A run of the baseline on the small shards."""

import shutil

import pytest


@pytest.fixture(scope="session")
def histogram_config():
    """A run of 3 epochs of 3 steps each."""
    import deepvideo_tf as dv

    return dv.TrainConfig(
        model="feature_histograms",
        clip=dv.ClipSpec(num_frames=16, crop_size_px=32, flip=False),
        width=0.02,
        options=dv.HistogramConfig(words=10),
        cached_views=2,
        optimizer="adamw",
        num_epochs=3,
        global_batch_size=12,
    )


@pytest.fixture(scope="session")
def histogram_shards(judged_shards, tmp_path_factory):
    """36 clips to train on, 12 to judge by, and the features of both beside them."""
    shards_dir = tmp_path_factory.mktemp("histograms") / "shards"
    shutil.copytree(judged_shards, shards_dir)
    return shards_dir


@pytest.fixture(scope="session")
def histogram_run(histogram_shards, histogram_config, tmp_path_factory):
    """The folder of a run that was let alone, with a checkpoint after every step."""
    import deepvideo_tf as dv

    workdir = tmp_path_factory.mktemp("runs") / "histograms"
    assert dv.train_and_export(histogram_config, histogram_shards, workdir, checkpoint_minutes=0) is None
    return workdir
