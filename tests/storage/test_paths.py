"""Where files may lie: disks and buckets, told apart by their addresses, with the same few methods."""

from dataclasses import replace
from pathlib import Path

import pytest

import deepvideo_tf as dv
from deepvideo_tf.data.annotations import hold_out
from deepvideo_tf.data.shards.manifest import read_manifest
from deepvideo_tf.data.shards.verify import verify_shards
from deepvideo_tf.errors import ConfigError, ShardError
from deepvideo_tf.runs.checkpoints import find_checkpoint
from deepvideo_tf.storage import paths
from deepvideo_tf.storage.buckets import RemotePath
from deepvideo_tf.storage.files import hash_of, remove_tree, working_copy
from deepvideo_tf.storage.paths import to_path
from deepvideo_tf.storage.writes import write_text_atomically


def test_paths_on_a_disk_are_pathlibs():
    for path in ("a/b", "/a/b", "C:/a", "a://b".replace("://", ":"), Path("a")):
        assert to_path(path) == Path(path)
        assert paths.is_on_disk(path)
    assert to_path("file:///a/b") == Path("/a/b")


def test_addresses_are_put_together_as_paths_are():
    path = to_path("gs://bucket/a/") / "b.tar.gz"
    assert str(path) == "gs://bucket/a/b.tar.gz"
    assert (path.name, path.suffix, str(path.parent)) == ("b.tar.gz", ".gz", "gs://bucket/a")
    assert str(path.with_suffix(".json")) == "gs://bucket/a/b.tar.json"
    assert path.with_name("c") == RemotePath("gs://bucket/a/c")
    assert to_path(path) is path
    assert not paths.is_on_disk("a", path)
    with pytest.raises(TypeError):
        Path(path)


@pytest.mark.parametrize("path", ["s3://bucket/a", "hdfs://host/a", "https://host/a", "gs://", "file://a"])
def test_other_addresses_are_refused(path):
    with pytest.raises(ConfigError, match=r"expected a path on a disk, file:/// or gs://BUCKET/\.\.\.$"):
        to_path(path)


def test_what_needs_a_disk_says_so():
    assert paths.on_disk("video_root", "a") == Path("a")
    assert paths.on_disk("video_root", None) is None
    with pytest.raises(ConfigError, match="^video_root must be on a disk: .* Received: 'gs://bucket/a'$"):
        paths.on_disk("video_root", "gs://bucket/a")


def test_objects_are_written_read_and_removed(tmp_path):
    folder = to_path(f"ram://{tmp_path.name}/folder")
    path = folder / "a.txt"
    assert not path.exists()
    assert not folder.is_dir()
    assert list(folder.glob("*")) == []
    path.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        path.read_bytes()
    write_text_atomically(path, "häß")
    assert (path.read_text(), path.stat().st_size) == ("häß", 5)
    assert path.is_file()
    assert folder.is_dir()
    assert list(folder.iterdir()) == [path] == folder.glob("*.txt")
    with path.open() as file:
        file.seek(-2, 2)
        assert file.read() == "ß".encode()
        file.seek(0)
        assert file.read(1) == b"h"
    path.rename(folder / "b.txt")
    assert list(folder.iterdir()) == [folder / "b.txt"]
    copy = (folder / "b.txt").download(tmp_path)
    path.upload(copy)
    assert hash_of(path) == hash_of(copy)
    with working_copy(path) as local:
        assert local.read_bytes() == copy.read_bytes()
    assert not local.exists()
    remove_tree(folder)
    assert not path.exists()


@pytest.fixture(scope="module")
def short_config(tiny_config):
    return replace(tiny_config, num_epochs=1)


@pytest.fixture(scope="module")
def short_run(small_shards, short_config, tmp_path_factory):
    """A run in a folder, without an export."""
    workdir = tmp_path_factory.mktemp("runs") / "short"
    dv.train(short_config, small_shards, workdir)
    return workdir


@pytest.mark.parametrize("kind", ["file", "ram"])
def test_shards_and_runs_under_an_address_are_those_of_a_folder(
    synthetic_videos, small_shards, short_config, short_run, tmp_path, kind
):
    place = f"file://{tmp_path}" if kind == "file" else f"ram://{tmp_path.name}"
    train, _ = hold_out(dv.read_folder(synthetic_videos), 0.25)
    spec = dv.ShardSpec(clips_per_video=3, frame_size_px=36)
    manifest = dv.build_shards(train, f"{place}/shards", spec=spec, num_shards=3, num_workers=2)
    assert manifest == read_manifest(small_shards, "train")
    assert dv.build_shards(train, f"{place}/shards", spec=spec, num_shards=3) == manifest
    assert verify_shards(f"{place}/shards", "train") == []
    dv.train(short_config, f"{place}/shards", f"{place}/run")
    assert find_checkpoint(f"{place}/run", best=True).name == find_checkpoint(short_run, best=True).name
    shard = to_path(f"{place}/shards") / manifest.shards[0]["name"]
    shard.write_bytes(shard.read_bytes()[:-10])
    assert [found["file"] for found in verify_shards(f"{place}/shards", "train")] == [str(shard)] * 2
    with pytest.raises(ShardError, match="as its manifest says"):
        dv.build_shards(train, f"{place}/shards", spec=spec, num_shards=3)
