"""Files of several writers, and of writers that are interrupted."""

import os
import threading

import pytest

from deepvideo_tf.storage.paths import to_path
from deepvideo_tf.storage.writes import (
    is_published,
    publish,
    publish_folder,
    staged_file,
    staging_file,
    staging_folder,
    write_bytes_atomically,
)


def test_writers_at_the_same_time_each_write_a_whole_file(tmp_path):
    path, contents = tmp_path / "model", [bytes([number]) * 3_000_000 for number in range(4)]
    ended, seen, failures = threading.Event(), set(), []

    def write(content):
        try:
            for _ in range(5):
                write_bytes_atomically(path, content)
        except OSError as error:
            failures.append(error)

    def read():
        while not ended.is_set():
            if path.exists():
                seen.add(path.read_bytes())

    writers = [threading.Thread(target=write, args=(content,)) for content in contents]
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for writer in writers:
        writer.join()
    ended.set()
    reader.join()
    assert failures == []
    assert seen <= set(contents)
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_an_interruption_leaves_the_file_before(tmp_path, monkeypatch):
    path = tmp_path / "model"
    write_bytes_atomically(path, b"before")

    def interrupted(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_bytes_atomically(path, b"after")
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


@pytest.fixture(params=["disk", "bucket"])
def folder(request, tmp_path):
    """A folder, on a disk and in a bucket."""
    if request.param == "bucket":
        return to_path(f"ram://{tmp_path.name}")
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def test_a_staged_file_appears_at_the_end_of_its_block(folder):
    path = folder / "file"
    with staged_file(path) as local:
        local.write_bytes(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    with pytest.raises(TypeError), staged_file(path) as local:
        local.write_bytes(None)
    assert path.read_bytes() == b"whole"
    assert [file.name for file in folder.iterdir()] == ["file"]


def test_an_error_names_the_file_and_not_its_temporary_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, staged_file(tmp_path / "none" / "file") as local:
        local.write_bytes(b"")
    assert caught.value.filename == str(tmp_path / "none" / "file")


def test_a_file_may_get_several_names(folder):
    for newest in ("1", "2"):
        with staging_file(folder, "unfinished") as local:
            local.write_bytes(newest.encode())
            publish(local, folder / f"best-{newest}", folder / newest)
        assert (folder / f"best-{newest}").read_text() == (folder / newest).read_text() == newest
    assert sorted(file.name for file in folder.iterdir()) == ["1", "2", "best-1", "best-2"]


def test_a_folder_appears_whole(folder):
    for attempt in range(2):
        with staging_folder(folder, ".unfinished") as local:
            (local / "part").mkdir()
            (local / "part" / "a").write_bytes(b"a")
            (local / "last").write_bytes(b"b")
            if attempt:
                assert not is_published(folder / "1", "last")
                publish_folder(local, folder / "1", last="last")
    assert is_published(folder / "1", "last")
    assert (folder / "1" / "part" / "a").read_bytes() == b"a"
    assert not (folder / ".unfinished").exists()


def test_the_other_names_are_copies_where_there_are_no_links(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    with staging_file(tmp_path, "unfinished") as local:
        local.write_bytes(b"whole")
        publish(local, tmp_path / "best", tmp_path / "newest")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"best": b"whole", "newest": b"whole"}
