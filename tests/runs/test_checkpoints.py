"""Runs that are interrupted anywhere end as if nothing had happened; damaged checkpoints are passed over."""

import hashlib
import json
import logging
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.input.pipeline import make_dataset
from deepvideo_tf.data.input.reader import record_names
from deepvideo_tf.errors import ModelFileError, TrainingError
from deepvideo_tf.runs import checkpoints
from deepvideo_tf.runs.checkpoints import NAME, find_checkpoint
from deepvideo_tf.runs.run import load_run
from deepvideo_tf.runs.state import Progress, read_description
from deepvideo_tf.training import loop
from tests.support.files import flip_a_bit
from tests.support.runs import assert_same_run, assert_whole, checkpoint_names, steps, train_often_saved


@pytest.fixture
def copied(tiny_run, tmp_path):
    """A run's folder to damage."""
    return shutil.copytree(tiny_run, tmp_path / "copied")


def test_names_hold_the_hash_and_three_are_kept(tiny_run):
    names = [NAME.fullmatch(name) for name in checkpoint_names(tiny_run)]
    assert [(match[1], int(match[2])) for match in names if match[1] == "step"] == [("step", n) for n in (4, 5, 6)]
    assert [match[1] for match in names].count("best") == 1
    for match in names:
        content = (tiny_run / "checkpoints" / match[0]).read_bytes()
        assert hashlib.sha256(content).hexdigest().startswith(match[3])


def test_a_checkpoint_tells_how_far_the_run_was(tiny_run, tiny_config):
    newest, before, _ = steps(tiny_run)
    assert read_description(newest).config == tiny_config
    progress = read_description(newest).progress
    assert (progress.epoch, progress.step, progress.total_steps) == (2, 0, 6)
    assert isinstance(progress.best, tuple)
    progress = read_description(before).progress
    assert (progress.epoch, progress.step, progress.total_steps) == (1, 2, 5)


def cut_in_half(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


class TestDamage:
    @pytest.mark.parametrize("damage", [flip_a_bit, cut_in_half, empty])
    def test_the_one_before_is_taken(self, copied, caplog, damage):
        newest, before, _ = steps(copied)
        damage(newest)
        assert find_checkpoint(copied, best=False) == before
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.getMessage().startswith(f"{newest}: damaged")

    def test_one_that_is_gone_is_not_missed(self, copied, caplog):
        newest, before, _ = steps(copied)
        newest.unlink()
        assert find_checkpoint(copied, best=False) == before
        assert not caplog.records

    def test_the_run_ends_the_same(self, copied, tiny_run, tiny_config, judged_shards, caplog):
        newest, before, _ = steps(copied)
        flip_a_bit(newest)
        empty(before)
        train_often_saved(tiny_config, judged_shards, copied)
        assert [record.getMessage().split(": ")[0] for record in caplog.records] == [str(newest), str(before)]
        assert_same_run(copied, tiny_run)

    def test_a_damaged_best_is_stood_in_for_by_the_newest(self, copied, caplog):
        (best,) = (copied / "checkpoints").glob("best-*")
        flip_a_bit(best)
        assert load_run(copied).checkpoint == steps(copied)[0]
        assert len(caplog.records) == 1

    def test_all_damaged_is_one_line(self, copied, tiny_config, judged_shards):
        for path in (copied / "checkpoints").iterdir():
            flip_a_bit(path)
        with pytest.raises(ModelFileError, match=r"^[^\n]*: damaged, and so are all others in its folder$"):
            dv.train(tiny_config, judged_shards, copied)
        with pytest.raises(ModelFileError, match="damaged"):
            load_run(copied)


class TestForeignFiles:
    def test_files_of_other_names_are_left_alone(self, copied):
        folder = copied / "checkpoints"
        names = ("notes.txt", "step-00000099-5f2b9c0d1e7a4f36.h5", "step-9.weights.h5", "unfinished.weights.h5")
        for name in names:
            (folder / name).write_text("foreign")
        assert find_checkpoint(copied, best=False).name.startswith("step-00000006")
        assert load_run(copied).checkpoint.name.startswith("best-")

    def test_another_file_under_a_checkpoints_name(self, copied, tiny_config, judged_shards):
        digest = hashlib.sha256(b"foreign").hexdigest()[:16]
        (copied / f"checkpoints/step-00000099-{digest}.weights.h5").write_bytes(b"foreign")
        with pytest.raises(ModelFileError, match=r"step-00000099-\w+.weights.h5: not a whole checkpoint: [^\n]*$"):
            dv.train(tiny_config, judged_shards, copied)

    def test_a_folder_without_checkpoints(self, tmp_path):
        (tmp_path / "checkpoints").mkdir()
        with pytest.raises(ModelFileError, match="expected the folder of a trained run"):
            load_run(tmp_path)


class TestNonFinite:
    @staticmethod
    def saved(tiny_run, workdir):
        run = load_run(tiny_run)
        model, path = run.model, find_checkpoint(tiny_run, best=False)
        model.compile("sgd")
        model.optimizer.build(model.trainable_variables)
        workdir.mkdir()
        return lambda: checkpoints.save_checkpoint(workdir, model, [], read_description(path)), model

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_weights_are_never_saved(self, tiny_run, tmp_path, value):
        save, model = self.saved(tiny_run, tmp_path / "run")
        save()
        before = checkpoint_names(tmp_path / "run")
        bias = model.get_layer("fc7").bias
        bias.assign([value, *bias[1:]])
        with pytest.raises(TrainingError, match="the weights of fc7/bias are not finite after step 6"):
            save()
        assert checkpoint_names(tmp_path / "run") == before

    def test_the_loss_stops_the_run_and_names_the_clips(
        self, tiny_config, tiny_run, judged_shards, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(loop, "learning_rate_at", lambda config, step, *_: 1e-3 if step < 3 else 1e30)
        config = tiny_config
        with pytest.raises(TrainingError, match=r"the loss is \w+ at step (\d): .* 12 clips of its batch") as caught:
            dv.train(config, judged_shards, tmp_path)
        told = json.loads((tmp_path / "non-finite-batch.json").read_text())
        assert f"at step {told['step']}:" in str(caught.value)
        assert all(name in str(caught.value) for name in told["clips"][:3])
        assert told["epoch"] == 1
        step = told["step"] - 1 - 3
        rows = range(step * 12, (step + 1) * 12)
        assert told["clips"] == record_names(judged_shards, "train", seed=0, epoch=1, rows=rows)
        batches = make_dataset(
            judged_shards, "train", config.clip, batch_size=12, training=True, first_epoch=1, first_step=step
        )
        _, targets = next(batches.as_numpy_iterator())
        classes = load_run(tmp_path).card.classes
        named = [name.split("/")[0] for name in told["clips"]]  # synthetic videos lie in the folder of their class
        assert named == [classes[number] for number in targets.argmax(axis=1)]
        assert [path.name for path in (tmp_path / "checkpoints").glob("best-*")] == [
            path.name for path in (tiny_run / "checkpoints").glob("best-00000003-*")
        ]  # the last good one


class TestBest:
    @staticmethod
    def play_validation(monkeypatch, *hits):
        """Lets validation find these Hit@1."""
        original, left = loop.after_epoch, iter(hits)

        def played(progress, config, logs):
            return original(progress, config, logs | {"val_hit_at_1": next(left)})

        monkeypatch.setattr(loop, "after_epoch", played)

    def test_the_best_by_validation_is_kept_and_used(self, tiny_config, judged_shards, tmp_path, monkeypatch):
        self.play_validation(monkeypatch, 0.1, 0.9, 0.5, 0.4, 0.3, 0.9)
        dv.train(replace(tiny_config, num_epochs=5), judged_shards, tmp_path)
        (best,) = (tmp_path / "checkpoints").glob("best-*")
        assert best.name.startswith("best-00000006")
        assert [int(NAME.fullmatch(path.name)[2]) for path in steps(tmp_path)] == [15, 12, 9]
        assert load_run(tmp_path).checkpoint == best
        assert read_description(best).progress == Progress(epoch=2, step=0, total_steps=6, **self.best_of(best))
        assert find_checkpoint(tmp_path, best=False) == steps(tmp_path)[0]

    @staticmethod
    def best_of(path):
        best = read_description(path).progress.best
        assert best[0] == 0.9
        return {"best": best}

    def test_the_best_is_a_copy_where_there_are_no_links(
        self, tiny_config, judged_shards, tiny_run, tmp_path, monkeypatch
    ):
        def refuse(*_):
            raise OSError("no links here")

        monkeypatch.setattr(os, "link", refuse)
        dv.train(tiny_config, judged_shards, tmp_path, checkpoint_minutes=0)
        assert checkpoint_names(tmp_path) == checkpoint_names(tiny_run)
        assert_whole(tmp_path)


def test_damaged_checkpoints_do_not_push_out_whole_ones(tiny_config, judged_shards, tiny_run, copied):
    """A damaged file of a later step must not count among the three that are kept."""
    newest, second, oldest = steps(copied)
    flip_a_bit(newest)
    flip_a_bit(second)
    for path in (copied / "checkpoints").glob("best-*"):
        path.unlink()
    dv.train(tiny_config, judged_shards, copied)
    damaged = {path.name for path in (copied / "checkpoints").glob("damaged-*")}
    assert damaged == {f"damaged-{newest.name}", f"damaged-{second.name}"}
    assert steps(copied)[0].name == steps(tiny_run)[0].name
    assert oldest in steps(copied)
