"""The features beside the shards: those of the pixels, found again, resumed, and never used when damaged."""

import logging
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import deepvideo_tf as dv
from deepvideo_tf.baseline import cache
from deepvideo_tf.baseline.feature_process import WAITING_PER_PROCESS, FeatureProcess, feature_processes
from deepvideo_tf.baseline.vectors import ClipVectors
from deepvideo_tf.data.input.pipeline import make_evaluation_dataset
from deepvideo_tf.errors import ShardError
from deepvideo_tf.models.feature_histograms import build_classifier, set_codebooks, vectors_of
from tests.support.files import flip_a_bit
from tests.support.histograms import CLIP, VIEWS, WORDS, compute


def every_row(vectors, view=0):
    numbers = np.arange(len(vectors))
    return vectors.rows(numbers, np.full_like(numbers, view))


def contents(shards_dir):
    """By name, the content and the time of change of each file of features."""
    files = (path for path in (shards_dir / "features").rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(shards_dir)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def bytes_of(shards_dir):
    return {name: content for name, (content, _) in contents(shards_dir).items()}


@pytest.fixture
def shards(small_shards, tmp_path):
    shutil.copytree(small_shards, tmp_path / "shards")
    return tmp_path / "shards"


@pytest.fixture(scope="module")
def computed(small_shards, tmp_path_factory):
    """Shards with their features, which no test changes."""
    shards_dir = tmp_path_factory.mktemp("computed") / "shards"
    shutil.copytree(small_shards, shards_dir)
    compute(shards_dir)
    return shards_dir


def test_the_vectors_are_those_of_evaluations_views(computed):
    # TensorFlow's cropping decoder may colour the last column of a view otherwise; all other pixels are the same.
    assert check_vectors(computed, 36) < 3e-3


def check_vectors(shards_dir, clips):
    """The mean difference from what evaluation would compute."""
    codebooks, vectors = compute(shards_dir)
    classifier = build_classifier(2, num_words=WORDS, hidden_layers=1, width=0.01, dropout=(0, 0))
    set_codebooks(classifier, codebooks)
    seen = list(make_evaluation_dataset(shards_dir, "train", CLIP, num_views=VIEWS).as_numpy_iterator())
    views, targets = (np.concatenate([batch[part] for batch in seen]) for part in (0, 1))
    assert len(vectors) == len(views) == clips
    differences = []
    for view in range(VIEWS):
        found, labels = every_row(vectors, view)
        expected = vectors_of(classifier)(views[:, view])
        assert found.dtype == np.float16
        np.testing.assert_array_equal(labels, targets > 0)
        differences.append(np.abs(found.astype(float) - expected).mean())
    return np.mean(differences)


def test_they_are_found_again_and_do_not_depend_on_the_number_of_workers(computed, shards):
    before = contents(computed)
    compute(computed)
    assert contents(computed) == before
    assert len(before) == 1 + 3  # codebooks, and a file for each shard
    compute(shards, num_workers=1)
    assert bytes_of(shards) == {name: content for name, (content, _) in before.items()}


def test_another_configuration_has_files_of_its_own(computed, shards):
    shutil.copytree(computed / "features", shards / "features")
    before = bytes_of(shards)
    compute(shards, words=WORDS + 1)
    compute(shards, clip=dv.ClipSpec(num_frames=8, crop_size_px=30))
    after = bytes_of(shards)
    assert len(after) == 3 * len(before)
    assert before.items() <= after.items()


def test_other_shards_are_never_taken_for_these(computed, shards, synthetic_videos):
    """Features of other shards lie in the folder, as where shards were built anew in their place."""
    spec = dv.ShardSpec(clips_per_video=2, frame_size_px=36)
    other = shards.parent / "other"
    dv.build_shards(dv.read_folder(synthetic_videos), other, spec=spec, num_shards=3)
    shutil.copytree(computed / "features", other / "features")
    _, vectors = compute(other)
    assert len(vectors) == 32
    assert len(contents(other)) == 2 * len(contents(computed))


@pytest.mark.parametrize("damaged", ["codebooks", "rows"])
@pytest.mark.parametrize("damage", ["flipped", "short"])
def test_a_damaged_file_is_told_of_and_computed_anew(computed, shards, damaged, damage, caplog):
    shutil.copytree(computed / "features", shards / "features")
    before = bytes_of(shards)
    name = next(name for name in sorted(before) if (damaged == "codebooks") == ("codebooks" in name))
    if damage == "flipped":
        flip_a_bit(shards / name)
    else:
        (shards / name).write_bytes(before[name][: len(before[name]) // 3])
    with caplog.at_level(logging.WARNING, "deepvideo_tf"):
        compute(shards)
    assert [record.message for record in caplog.records] == [
        f"{shards / name}: damaged (its content has another hash than its name says); computed anew"
    ]
    assert bytes_of(shards) == before


SCRIPT = f"""
import sys
import deepvideo_tf as dv
from deepvideo_tf.baseline import cache
print("begun", flush=True)
codebooks = cache.learn_codebooks(sys.argv[1], dv.{CLIP}, {WORDS}, num_workers=2)
cache.clip_vectors(sys.argv[1], "train", dv.{CLIP}, codebooks, {VIEWS}, max_bad_fraction=0.01, num_workers=2)
"""


@pytest.mark.parametrize("files", [0, 1, 2, 3])
def test_killed_it_goes_on_to_the_same_bytes_and_leaves_no_process_behind(computed, shards, files):
    """Killed once so many files are there: nothing, the codebooks, and the rows of one and two shards."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, shards], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    process.stdout.readline()
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline and len(whole_files(shards)) < files:
        time.sleep(0.001)
    children = children_of(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = {name: time_ns for name, (_, time_ns) in contents(shards).items() if "unfinished" not in name}
    assert len(done) >= files
    compute(shards)
    after = contents(shards)
    assert bytes_of(shards) == bytes_of(computed)
    assert all(after[name][1] == time_ns for name, time_ns in done.items())  # what was done was not done again
    deadline = time.monotonic() + 30
    while any(map(is_running, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_running, children))


def whole_files(shards_dir):
    return [path for path in (shards_dir / "features").rglob("*-*.*") if "unfinished" not in path.name]


def children_of(pid):
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in listed.stdout.split()]


def is_running(pid):
    listed = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return "deepvideo_tf.baseline.feature_process" in listed.stdout


def test_damaged_records_are_left_out_counted_and_made_up_for(shards, caplog):
    path = sorted(shards.glob("train-*.tfrecord"))[1]
    flip_a_bit(path)
    with pytest.raises(ShardError, match="more than 0.01 of 36 records are damaged"):
        compute(shards)
    with caplog.at_level(logging.WARNING, "deepvideo_tf"):
        _, vectors = compute(shards, max_bad_fraction=0.1)
    assert "1 damaged records of 36 skipped" in caplog.text
    found, labels = every_row(vectors)
    assert found.shape[0] == 36
    assert (labels.sum(axis=1) == 1).all()
    np.testing.assert_array_equal(found[35], found[0])
    with caplog.at_level(logging.WARNING, "deepvideo_tf"):  # the shard may have been repaired since
        compute(shards, max_bad_fraction=0.1)
    assert "lacks clips that were damaged; computed anew" in caplog.text


def test_codebooks_of_damaged_shards_are_not_taken_for_those_of_the_repaired_ones(computed, shards):
    path = sorted(shards.glob("train-*.tfrecord"))[0]
    whole = path.read_bytes()
    flip_a_bit(path)
    of_damaged = cache.learn_codebooks(shards, CLIP, WORDS, num_workers=1)
    path.write_bytes(whole)
    cache.learn_codebooks(shards, CLIP, WORDS, num_workers=1)
    assert all(codebook.words.any() for codebook in of_damaged.values())
    (name,) = bytes_of(shards)
    assert bytes_of(shards)[name] == bytes_of(computed)[name]


def test_a_frame_that_is_no_picture_is_one_line(small_shards):
    settings = {
        "frame_format": "jpeg",
        "frame_size_px": 36,
        "crop_size_px": 32,
        "boxes": [[0, 0, False]],
        "sampled": 5,
    }
    with FeatureProcess(settings) as process, pytest.raises(ShardError, match="features of a clip cannot be computed"):
        process([b"no picture"])


def test_a_folder_that_cannot_be_written_is_named(shards):
    (shards / "features").write_text("a file is in the way")
    with pytest.raises(ShardError, match="features.*cannot be written"):
        compute(shards)


def test_raw_frames_have_features(synthetic_videos, tmp_path):
    spec = dv.ShardSpec(clips_per_video=1, frame_size_px=36, frame_format="raw")
    dv.build_shards(dv.read_folder(synthetic_videos), tmp_path, spec=spec, num_shards=2)
    assert check_vectors(tmp_path, 16) == 0


def test_batches_hold_targets_and_weights(computed):
    _, vectors = compute(computed)
    order, views = np.arange(36)[::-1], np.arange(36) % 2
    weights = np.array([1.0, 2, 3, 4])
    whole = vectors.batches(10, order, views, multi_label=False, class_weights=weights)
    assert len(whole) == 4
    batches = [whole[index] for index in range(4)]
    assert [len(batch[0]) for batch in batches] == [10, 10, 10, 6]
    assert {part.dtype for part in batches[0]} == {np.dtype(np.float32)}
    expected, labels = vectors.rows(order, views)
    np.testing.assert_array_equal(np.concatenate([batch[0] for batch in batches]), expected)
    np.testing.assert_array_equal(np.concatenate([batch[1] for batch in batches]), labels)
    np.testing.assert_array_equal(np.concatenate([batch[2] for batch in batches]), weights[labels.argmax(axis=1)])
    rest = vectors.batches(10, order, views, multi_label=False, class_weights=weights, first_step=3)
    assert len(rest) == 1
    np.testing.assert_array_equal(rest[0][0], batches[3][0])


def test_several_labels_share_a_target_or_have_one_each():
    row = np.dtype([("vectors", np.float16, (1, 2)), ("labels", np.bool_, (3,))])
    vectors = ClipVectors([np.array([([[1, 2]], [True, False, True])], row)], 1)
    for multi_label, target in ((False, [0.5, 0, 0.5]), (True, [1, 0, 1])):
        batches = vectors.batches(
            4, np.zeros(1, int), np.zeros(1, int), multi_label=multi_label, class_weights=[1, 1, 5]
        )
        ((found,), (targets,), (weight,)) = batches[0]
        np.testing.assert_array_equal(found, [1, 2])
        np.testing.assert_array_equal(targets, target)
        assert weight == 3


def test_no_more_clips_are_read_than_will_soon_have_their_turn():
    """So that memory does not grow with the shards."""
    frames = [np.zeros((36, 36, 3), np.uint8).tobytes()] * 8
    settings = {"frame_format": "raw", "frame_size_px": 36, "crop_size_px": 32, "boxes": [[0, 0, False]], "sampled": 5}
    read = 0

    def jobs():
        nonlocal read
        for _ in range(100):
            read += 1
            yield frames, 0

    with feature_processes(settings, None, 2) as in_order:
        for done, arrays in enumerate(in_order(jobs())):
            assert read - done <= 2 * WAITING_PER_PROCESS
            assert all(len(array) <= 5 for array in arrays)
    assert read == 100


@pytest.mark.parametrize(("count", "most"), [(1, 5), (5, 5), (6, 5), (1000, 7), (10**6, 64)])
def test_a_sample_is_evenly_spread_and_never_larger(count, most):
    numbers = cache.evenly_spread(count, most)
    assert len(numbers) == min(count, most) == len(set(numbers))
    assert (numbers[0], numbers[-1]) == (0, count - 1)
    gaps = np.diff(numbers)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1
