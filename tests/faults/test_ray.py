"""Two local Ray nodes do what this machine does, to the byte, whatever is killed among them."""

import os
import random
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.annotations import read_list, read_video_paths
from deepvideo_tf.data.shards.manifest import read_manifest
from deepvideo_tf.data.video.process import DecoderProcess
from deepvideo_tf.errors import ConfigError, ShardError
from deepvideo_tf.execution.engines import ray as ray_engine
from deepvideo_tf.execution.engines import run_tasks
from deepvideo_tf.execution.engines.ray import problem_here
from deepvideo_tf.execution.engines.work import Work
from tests.support.files import hashes

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
cluster_utils = pytest.importorskip("ray.cluster_utils", reason="needs the extra ray")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads the processes from /proc"),
]

SCRIPTS = Path(sysconfig.get_path("scripts"))
NUM_SHARDS = 24
NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def cluster():
    """A head and another node, a processor each."""
    with tempfile.TemporaryDirectory(prefix="ray") as folder:  # short: it holds sockets
        cluster = cluster_utils.Cluster(
            initialize_head=True, head_node_args={**NODE, "include_dashboard": False, "temp_dir": folder}
        )
        cluster.add_node(**NODE)
        yield cluster
        cluster.shutdown()


@pytest.fixture(scope="module")
def videos(ucf101_6):
    return read_list(ucf101_6 / "trainlist01.txt", ucf101_6 / "videos", ucf101_6 / "classes.txt")


def build(videos, shards_dir, **arguments):
    spec = dv.ShardSpec(clips_per_video=4, frame_size_px=100)
    return dv.build_shards(videos, shards_dir, split="train", spec=spec, num_shards=NUM_SHARDS, **arguments)


@pytest.fixture(scope="module")
def undisturbed(videos, tmp_path_factory):
    """A build on this machine that was let alone."""
    shards_dir = tmp_path_factory.mktemp("undisturbed")
    build(videos, shards_dir)
    return shards_dir


def build_command(ucf101_6, shards_dir, address):
    return [
        SCRIPTS / "deepvideo-build-shards", "--format=list", f"--annotations={ucf101_6 / 'trainlist01.txt'}",
        f"--classes={ucf101_6 / 'classes.txt'}", f"--video_root={ucf101_6 / 'videos'}", f"--shards_dir={shards_dir}",
        "--split=train", "--clips_per_video=4", "--frame_size_px=100", f"--num_shards={NUM_SHARDS}", "--engine=ray",
        f"--ray_address={address}",
    ]  # fmt: skip


def descendants(pid):
    """Process ids of all children and theirs, the youngest generation first."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text()
        except OSError:
            continue  # it has ended
        children.setdefault(int(fields.rpartition(")")[2].split()[1]), []).append(int(fields.split()[0]))
    found, generation = [], [pid]
    while generation := [child for parent in generation for child in children.get(parent, [])]:
        found = generation + found
    return found


def is_at_work(pid):
    try:
        return b"ray::_do" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def raylet_of(node):
    return node.all_processes["raylet"][0].process.pid


def at_work(nodes):
    """Ids of the processes that are making shards."""
    return [pid for node in nodes for pid in descendants(raylet_of(node)) if is_at_work(pid)]


def kill_a_worker(cluster, rng):
    """Kills a process that is making a shard; whether there was one."""
    pids = at_work(cluster.list_all_nodes())
    return bool(pids) and kill(rng.choice(pids))


def kill_a_node(cluster):
    """Kills all processes of the node that is not the head, decoders first: the worst order. Whether it was at work."""
    (node,) = cluster.worker_nodes
    was_at_work = bool(at_work([node]))
    for pid in [*descendants(raylet_of(node)), raylet_of(node)]:
        kill(pid)
    cluster.remove_node(node, allow_graceful=False)
    return was_at_work


def wait_for_files(process, pattern, count):
    folder, _, names = pattern.rpartition("/")
    while process.poll() is None and len(list(Path(folder).glob(names))) < count:
        time.sleep(0.01)


def run_with_kills(cluster, command, pattern, rng):
    """Runs a job; a worker and then the second node are killed at random moments before its half is done.

    Returns:
        What it printed, and how many workers and nodes were at work when they were killed.
    """
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    first = rng.randrange(NUM_SHARDS // 2)
    wait_for_files(process, pattern, first)
    time.sleep(rng.uniform(0, 1))
    workers = kill_a_worker(cluster, rng)
    wait_for_files(process, pattern, rng.randrange(first, NUM_SHARDS // 2))
    while process.poll() is None and not at_work(cluster.worker_nodes):  # a new node takes its time
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 1))
    nodes = kill_a_node(cluster)
    output, _ = process.communicate(timeout=500)
    cluster.add_node(**NODE)
    assert process.returncode == 0, output
    assert "(raylet)" not in output
    return output, workers, nodes


def check_kills(cluster, ucf101_6, undisturbed, tmp_path, rounds):
    rng = random.Random(0)
    workers = nodes = 0
    for number in range(rounds):
        shards_dir = tmp_path / str(number)
        command = build_command(ucf101_6, shards_dir, cluster.address)
        output, *killed = run_with_kills(cluster, command, f"{shards_dir}/.train-build/*.json", rng)
        workers, nodes = workers + killed[0], nodes + killed[1]
        assert "216 of 216 videos, " in output
        assert "skipped" not in output
        assert hashes(shards_dir) == hashes(undisturbed)
        assert not (shards_dir / ".train-build").exists()
    assert min(workers, nodes) >= rounds / 2


def test_two_nodes_build_the_same_shards(cluster, ucf101_6, undisturbed, tmp_path):
    command = build_command(ucf101_6, tmp_path / "shards", cluster.address)
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert hashes(tmp_path / "shards") == hashes(undisturbed)
    assert all(line.startswith("train: ") for line in result.stderr.splitlines()), result.stderr


def test_a_worker_and_a_node_killed_twice(cluster, ucf101_6, undisturbed, tmp_path):
    check_kills(cluster, ucf101_6, undisturbed, tmp_path, rounds=2)


def test_a_worker_and_a_node_killed_10_times(cluster, ucf101_6, undisturbed, tmp_path):
    check_kills(cluster, ucf101_6, undisturbed, tmp_path, rounds=10)


def test_ctrl_c_and_on(cluster, ucf101_6, undisturbed, tmp_path):
    command = build_command(ucf101_6, tmp_path / "shards", cluster.address)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_files(process, f"{tmp_path}/shards/.train-build/*.json", 3)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=100)
    assert process.returncode == 130, stderr
    assert stderr.splitlines()[-1] == "deepvideo-build-shards: error: interrupted"
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").glob(".train-build/*.tfrecord")}
    assert 3 <= len(before) < NUM_SHARDS
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert hashes(tmp_path / "shards") == hashes(undisturbed)
    kept = {path.stat().st_mtime_ns for path in (tmp_path / "shards").glob("*.tfrecord")}
    assert set(before.values()) <= kept


def test_bad_videos_are_listed(cluster, synthetic_videos, tmp_path, caplog):
    root = tmp_path / "videos"
    (root / "a").mkdir(parents=True)
    (root / "a/bad.mp4").write_bytes(b"")
    for number in range(3):
        (root / f"a/{number}.mp4").symlink_to(synthetic_videos / f"moves_up/000{number}.mp4")
    arguments = {"spec": dv.ShardSpec(clips_per_video=1, frame_size_px=32), "num_shards": 2, "max_bad_fraction": 0.5}
    manifest = dv.build_shards(
        dv.read_folder(root), tmp_path / "ray", engine="ray", ray_address=cluster.address, **arguments
    )
    assert manifest.skipped == ({"video_id": "a/bad.mp4", "reason": "the file is empty"},)
    assert "skipped a/bad.mp4: the file is empty" in caplog.text
    dv.build_shards(dv.read_folder(root), tmp_path / "local", **arguments)
    assert hashes(tmp_path / "ray") == hashes(tmp_path / "local")
    with pytest.raises(ShardError, match="1 of 4 videos are bad"):
        dv.build_shards(
            dv.read_folder(root), tmp_path / "out", engine="ray", ray_address=cluster.address,
            **arguments | {"max_bad_fraction": 0.1},
        )  # fmt: skip


def test_predictions_are_the_same(cluster, small_run, synthetic_videos, tmp_path):
    model = dv.export_tflite(small_run, tmp_path / "model.tflite")
    videos = read_video_paths(synthetic_videos)
    for path in (model, small_run):
        local, remote = tmp_path / f"local-{path.name}", tmp_path / f"ray-{path.name}"
        dv.predict_many(path, synthetic_videos, videos, local, num_shards=4)
        dv.predict_many(path, synthetic_videos, videos, remote, num_shards=4, engine="ray", ray_address=cluster.address)
        names = [f"predictions-{number:05d}-of-00004.jsonl" for number in range(4)]
        assert [(remote / name).read_bytes() for name in names] == [(local / name).read_bytes() for name in names]


def test_predictions_with_a_worker_and_a_node_killed_twice(cluster, small_run, ucf101_6, tmp_path):
    """No answer is lost, and none is there twice."""
    model = dv.export_tflite(small_run, tmp_path / "model.tflite")
    videos = read_video_paths(ucf101_6 / "videos")
    dv.predict_many(model, ucf101_6 / "videos", videos, tmp_path / "local", num_shards=NUM_SHARDS)
    rng = random.Random(0)
    workers = nodes = 0
    for number in range(2):
        folder = tmp_path / str(number)
        command = [
            SCRIPTS / "deepvideo-predict-many", f"--model_path={model}", f"--video_root={ucf101_6 / 'videos'}",
            f"--predictions_dir={folder}", f"--num_shards={NUM_SHARDS}", "--engine=ray",
            f"--ray_address={cluster.address}",
        ]  # fmt: skip
        output, *killed = run_with_kills(cluster, command, f"{folder}/predictions-*.jsonl", rng)
        workers, nodes = workers + killed[0], nodes + killed[1]
        assert "300 of 300 videos classified" in output
        names = sorted(path.name for path in folder.glob("predictions-*"))
        assert names == sorted(path.name for path in (tmp_path / "local").glob("predictions-*"))
        assert len(names) == NUM_SHARDS + 2
        for name in names:
            assert (folder / name).read_bytes() == (tmp_path / "local" / name).read_bytes(), name
    assert min(workers, nodes) >= 1


def test_a_task_that_kills_its_workers_ends(cluster, videos, tmp_path, monkeypatch):
    def dies(task, worker, on_video):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(ray_engine, "MAX_DEATHS", 2)
    tasks = dv.shard_tasks(videos, tmp_path, num_shards=1)
    Path(tasks[0].path).parent.mkdir()
    with pytest.raises(ShardError, match=r"00000.tfrecord: its worker died 3 times, the last time: "):
        list(run_tasks(Work(dies, tasks, DecoderProcess, tasks[0].limits, ray_address=cluster.address), "ray"))


def test_what_is_wrong_with_a_node(tmp_path):
    folder = -1  # in place of a size
    assert problem_here([(str(tmp_path), folder)], dv.__version__) is None
    problem = problem_here([(str(tmp_path / "elsewhere"), folder), (str(tmp_path), folder)], dv.__version__)
    assert problem.startswith(f"does not have {tmp_path / 'elsewhere'}")
    assert problem_here([], "0.0.1") == f"has deepvideo-tf {dv.__version__}, expected 0.0.1"


def test_no_cluster(videos, tmp_path):
    with pytest.raises(ConfigError, match=r"expected a Ray cluster at 127.0.0.1:1, found none: Connection refused"):
        build(videos, tmp_path / "out", engine="ray", ray_address="127.0.0.1:1")


def test_ray_on_this_machine_alone(videos, undisturbed, tmp_path):
    """In a process of its own: with no address a cluster is started, and stopped."""
    code = (
        "import deepvideo_tf as dv; from pathlib import Path; "
        f"data = Path({str(videos.video_root)!r}).parent; "
        "videos = dv.read_list(data / 'trainlist01.txt', data / 'videos', data / 'classes.txt'); "
        "spec = dv.ShardSpec(clips_per_video=4, frame_size_px=100); "
        f"dv.build_shards(videos, {str(tmp_path / 'shards')!r}, split='train', spec=spec, num_shards={NUM_SHARDS}, "
        "engine='ray', num_workers=2)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert read_manifest(tmp_path / "shards", "train") == read_manifest(undisturbed, "train")
