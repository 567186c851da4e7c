"""Runs that are interrupted anywhere end as if nothing had happened; damaged checkpoints are passed over."""

import hashlib
import itertools
import os
import signal
from dataclasses import replace

import pytest
import tensorflow as tf

import deepvideo_tf as dv
from deepvideo_tf.data.input.pipeline import make_dataset
from deepvideo_tf.runs import checkpoints, state
from deepvideo_tf.runs.checkpoints import find_checkpoint
from deepvideo_tf.runs.state import read_description
from deepvideo_tf.storage import writes
from deepvideo_tf.training import loop, tensorboard
from deepvideo_tf.training.executors.local import LocalExecutor
from deepvideo_tf.training.loop import TrainingLoop
from deepvideo_tf.training.sources.clips import ClipSource
from tests.support.runs import (
    Killed,
    assert_same_end,
    assert_same_run,
    assert_whole,
    killed_at,
    steps,
    train_often_saved,
)

# Where a run is killed, again and again, and how far its checkpoints then reach. The first epoch is the best.
KILLS = [
    ((LocalExecutor, "train_epoch", 1), 0),  # before the first step
    ((state, "generators_of", 1), 0),  # in the middle of a write
    ((state, "generators_of", 2), 1),
    ((checkpoints, "hash_of", 1, "unfinished"), 1),  # between a write and its hash
    ((os, "replace", 2, "step-"), 2),  # between hash and name
    ((TrainingLoop, "after_validation_batch", 1), 3),  # in validation
    ((loop, "write_history", 1), 3),  # between validation and history
    ((tensorboard.TensorBoard, "write", 1), 3),  # between history and checkpoint
    ((os, "link", 1), 3),  # before the best gets its name
    ((os, "replace", 1, "step-"), 3),  # between that and the name of the last one
    ((LocalExecutor, "train_epoch", 2), 3),  # between two epochs
    ((state, "generators_of", 2), 3),  # in a write; the first call reads the checkpoint
    ((writes, "sync", 6, "checkpoints"), 6),  # between the last step's name and the removal of older ones
    ((writes, "sync", 2, "checkpoints"), 6),  # the same after its validation
]


def test_a_run_killed_everywhere_ends_the_same(tiny_config, judged_shards, tiny_run, tmp_path):
    for place, reached in KILLS:
        with killed_at(*place):
            train_often_saved(tiny_config, judged_shards, tmp_path)
        assert_whole(tmp_path)
        assert max([0, *(int(path.name.split("-")[1]) for path in steps(tmp_path))]) == reached, place
    train_often_saved(tiny_config, judged_shards, tmp_path)
    assert_same_run(tmp_path, tiny_run)


def test_a_run_killed_in_its_first_checkpoint_goes_on(tiny_config, judged_shards, tiny_run, tmp_path):
    """That checkpoint is the best one, and has that name and the unfinished one."""
    with killed_at(os, "replace", 1, "step-"):
        dv.train(tiny_config, judged_shards, tmp_path)
    (best,) = (tmp_path / "checkpoints").iterdir()
    assert best.name.startswith("best-")
    os.link(best, tmp_path / "checkpoints/unfinished.weights.h5")  # which a real kill leaves
    dv.train(tiny_config, judged_shards, tmp_path)
    assert_whole(tmp_path)
    assert_same_end(tmp_path, tiny_run)


def record_clips(monkeypatch):
    """Lists, one for each start of training, of the clips' hashes in each batch that it draws."""
    starts, datasets = [], {}
    prepare, original = ClipSource.prepare, ClipSource.batches

    def recorded_prepare(self):
        starts.append([])
        prepare(self)

    def recorded_batches(self, epoch, first_step):
        def remember(clips):
            starts[-1].append([hashlib.sha256(clip.tobytes()).hexdigest() for clip in clips])
            return clips

        def with_memory(clips, targets, weights):
            return tf.ensure_shape(tf.numpy_function(remember, [clips], tf.uint8), clips.shape), targets, weights

        if self not in datasets:  # each pass over one dataset is the next epoch's
            datasets[self] = original(self, epoch, first_step).map(with_memory)
        return datasets[self]

    monkeypatch.setattr(ClipSource, "prepare", recorded_prepare)
    monkeypatch.setattr(ClipSource, "batches", recorded_batches)
    return starts


def test_a_run_stopped_after_every_step_sees_every_clip_once_an_epoch(
    tiny_config, judged_shards, tmp_path, monkeypatch
):
    clip = dv.ClipSpec(num_frames=16, crop_size_px=36, flip=False)  # all of a stored clip: a hash tells which it is
    config = replace(tiny_config, model="early_fusion", clip=clip, global_batch_size=20)
    starts = record_clips(monkeypatch)
    dv.train(config, judged_shards, tmp_path / "undisturbed")
    whole = starts.pop()
    stored = make_dataset(judged_shards, "train", clip).unbatch().as_numpy_iterator()
    hashes = sorted(hashlib.sha256(pixels.tobytes()).hexdigest() for pixels, _ in stored)
    assert len(set(hashes)) == 36
    assert [len(batch) for batch in whole] == [20, 16] * 2
    for epoch in (whole[:2], whole[2:]):
        assert sorted(itertools.chain.from_iterable(epoch)) == hashes
    assert whole[:2] != whole[2:]

    numbers = itertools.cycle([signal.SIGTERM, signal.SIGINT])
    for done in range(4):
        calls = itertools.count()
        with pytest.raises(
            KeyboardInterrupt, match=f"interrupted; saved in .* after step {done + 1}: the same command"
        ):
            dv.train(
                config,
                judged_shards,
                tmp_path / "run",
                on_step=lambda *_, calls=calls: next(calls) and signal.raise_signal(next(numbers)),
            )
        assert starts[done][0] == whole[done]
    dv.train(config, judged_shards, tmp_path / "run")
    assert starts[4] == []  # nothing but the last validation was left
    assert_same_end(tmp_path / "run", tmp_path / "undisturbed")
    # Of one step there is one checkpoint: that from before its validation must not be taken for the run's end.
    assert [path.name.split("-")[1] for path in steps(tmp_path / "run")] == ["00000004", "00000003", "00000002"]


def test_a_run_stopped_in_validation_has_only_that_to_do(tiny_config, judged_shards, tiny_run, tmp_path, monkeypatch):
    original = TrainingLoop.after_validation_batch

    def stopping(self, *arguments, **named):
        signal.raise_signal(signal.SIGTERM)
        original(self, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingLoop, "after_validation_batch", stopping)
        with pytest.raises(KeyboardInterrupt, match="after step 3: the same command"):
            dv.train(tiny_config, judged_shards, tmp_path)
    progress = read_description(find_checkpoint(tmp_path, best=False)).progress
    assert (progress.epoch, progress.step, progress.total_steps) == (0, 3, 3)
    seen = []
    dv.train(tiny_config, judged_shards, tmp_path, on_step=lambda *clips: seen.append(clips))
    assert seen == [(36, 72), (48, 72), (60, 72), (72, 72)]
    assert_same_end(tmp_path, tiny_run)


def test_the_second_signal_ends_at_once(tiny_config, judged_shards, tmp_path):
    def twice(seen, in_all):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt) as caught:
        dv.train(tiny_config, judged_shards, tmp_path, on_step=twice)
    assert str(caught.value) == ""
    assert not (tmp_path / "checkpoints").exists()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


VARIANTS = {
    "augmented": {
        "model": "early_fusion",
        "clip": dv.ClipSpec(num_frames=4, crop_size_px=32),
        "dtype_policy": "mixed_bfloat16",
        "mixup_alpha": 0.4,
        "colour_jitter": 0.3,
        "time_jitter": 0.5,
        "class_weights": "balanced",
        "label_smoothing": 0.1,
    },
    "multi-label": {
        "dtype_policy": "mixed_float16",
        "loss": "sigmoid",
        "optimizer": "adamw",
        "schedule": "cosine",
        "warmup_steps": 2,
        "max_gradient_norm": 0.5,
        "dropout": 0.0,
        "class_weights": "balanced",
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_way_to_train_goes_on_to_the_bit(tiny_config, judged_shards, tmp_path, variant):
    def kill(seen, in_all):
        if seen == 24:
            raise Killed

    config = replace(tiny_config, num_epochs=1, **VARIANTS[variant])
    train_often_saved(config, judged_shards, tmp_path / "undisturbed")
    with pytest.raises(Killed):
        train_often_saved(config, judged_shards, tmp_path / "run", on_step=kill)
    assert len(steps(tmp_path / "run")) == 1  # that of the first step
    train_often_saved(config, judged_shards, tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "undisturbed")
