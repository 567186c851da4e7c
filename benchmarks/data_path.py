"""How fast shards are built and read, each beside what bounds it, and how much memory both take.

  python benchmarks/data_path.py                                        everything; 10 to 15 minutes on 2 cores
  python benchmarks/data_path.py --parts=build --max_videos=60          one part, on a fifth of the videos

build: `build_shards` into a fresh folder, against PyAV decoding every frame of the same videos in as many processes and
dropping it. Building also scales the frames it keeps and makes JPEG files of them: the more clips a video, the more.
It starts a decoder process for each shard; the processes that only decode run already. Both find the files cached.

read: one epoch of `make_dataset` in training from JPEG and from raw records, from the first request to the last batch,
against libjpeg-turbo decoding as many of the same frames from memory in as many processes (simplejpeg keeps Python's
lock while it decodes, so that threads would take turns). TensorFlow decodes only the crop of a frame, simplejpeg all of
it; the epoch also has the shards to read, check, parse and shuffle, and begins with nothing to train on while the
first records come in to be shuffled. Raw records take 1.9 MB a clip, 3.5 GB in all.

memory: the highest resident memory of a process that builds, with that of its largest decoder for each worker, and of
one that reads an epoch of JPEG records; for some videos and for the same ones under 10 times as many paths. There are
several times as many clips as are shuffled together in the smaller set too. Both take 5.2 GB on the disk.

Each round takes every side in turn, so that a machine that slows down does so for all; medians over the rounds are
printed.
"""

import contextlib
import glob
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from absl import app, flags

# Every process of a pool imports this module: TensorFlow is imported only where it is used.
import deepvideo_tf as dv

REPOSITORY = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("DEEPVIDEO_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
PARTS = ("build", "read", "memory")

_PARTS = flags.DEFINE_list("parts", ",".join(PARTS), f"Which of {', '.join(PARTS)}.")
_VIDEO_ROOT = flags.DEFINE_string("video_root", str(DATA / "ucf101-6" / "videos"), "Folder of class folders.")
_MAX_VIDEOS = flags.DEFINE_integer("max_videos", None, "Takes so many, evenly; None for all.", lower_bound=1)
_CLIPS_PER_VIDEO = flags.DEFINE_multi_integer("clips_per_video", [2, 5, 20], "For building.", lower_bound=1)
_READ_CLIPS = flags.DEFINE_integer("read_clips_per_video", 6, "For reading.", lower_bound=1)
_MEMORY_VIDEOS = flags.DEFINE_integer("memory_videos", 150, "In the smaller set for memory.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Times that each side is timed.", lower_bound=1)

WORKERS = 2
SHARDS = 16
GOAL = 0.8
BATCH_SIZE = 32
CLIP = dv.ClipSpec(num_frames=10, crop_size_px=170)
MEMORY_CLIPS_PER_VIDEO = 20
LARGER_BY = 10
POLL_S = 0.05
# Forking a process in which TensorFlow runs threads is not safe.
SPAWN = multiprocessing.get_context("spawn")


def chosen(annotations, most):
    """The annotations with at most so many of their videos, evenly spread."""
    count = min(most or len(annotations.videos), len(annotations.videos))
    return replace(
        annotations,
        videos=tuple(annotations.videos[index * len(annotations.videos) // count] for index in range(count)),
    )


def build(annotations, shards_dir, clips_per_video, frame_format="jpeg"):
    spec = dv.ShardSpec(clips_per_video=clips_per_video, frame_format=frame_format)
    return dv.build_shards(annotations, shards_dir, spec=spec, num_shards=SHARDS, num_workers=WORKERS)


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def stored_clips(shards_dir):
    """Yields the frames of each record, as they are stored."""
    import tensorflow as tf

    from deepvideo_tf.data.shards.records import FRAMES, read_records

    for path in sorted(glob.glob(os.path.join(shards_dir, "*.tfrecord"))):
        for _, record in read_records(path, print):
            lists = tf.train.SequenceExample.FromString(record).feature_lists
            yield [frame.bytes_list.value[0] for frame in lists.feature_list[FRAMES].feature]


# Building


def decode_only(path):
    """Decodes all frames of a video, one after the other; returns their number."""
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def measure_build(annotations):
    import tensorflow as tf  # noqa: F401 - so that no build has to wait for it

    paths = [os.path.join(annotations.video_root, video.path) for video in annotations.videos]
    decode_s, build_s = [], {clips: [] for clips in _CLIPS_PER_VIDEO.value}
    kept = {}
    with ProcessPoolExecutor(WORKERS, mp_context=SPAWN) as pool:
        frames = sum(pool.map(decode_only, paths))  # starts the processes and reads the files into the cache
        for _ in range(_ROUNDS.value):
            decode_s.append(seconds(lambda: list(pool.map(decode_only, paths))))
            for clips, times_s in build_s.items():
                with tempfile.TemporaryDirectory() as shards_dir:
                    times_s.append(seconds(partial(build, annotations, shards_dir, clips)))
                    if clips not in kept:
                        kept[clips] = frames_kept(shards_dir)
    medians_s = {clips: statistics.median(times_s) for clips, times_s in build_s.items()}
    print_build(len(paths), frames, kept, medians_s, statistics.median(decode_s))


def frames_kept(shards_dir):
    """(frames in the shards, how many of them differ): clips that overlap share frames."""
    hashes = [hash(frame) for frames in stored_clips(shards_dir) for frame in frames]
    return len(hashes), len(set(hashes))


def print_build(videos, frames, kept, build_s, decode_s):
    print(f"\nBuilding {SHARDS} shards with {WORKERS} workers from {videos} videos, {frames} frames")
    print(f"{'':10}{'frames a video':^20}{'building':^22}{'decoding only':^22}")
    columns = ("clips", "stored", "different", "videos/s", "frames/s", "videos/s", "frames/s", "ratio")
    print("{:10}{:>10}{:>10}{:>11}{:>11}{:>11}{:>11}{:>8}".format(*columns))
    for clips, median_s in build_s.items():
        stored, different = kept[clips]
        print(
            f"{clips:<10}{stored / videos:10.1f}{different / videos:10.1f}"
            f"{videos / median_s:11.2f}{frames / median_s:11.0f}{videos / decode_s:11.2f}{frames / decode_s:11.0f}"
            f"{decode_s / median_s:8.2f}"
        )
    print(f"goal: {GOAL:g}", flush=True)


# Reading


def dataset_of(shards_dir):
    import tensorflow as tf

    options = tf.data.Options()
    options.threading.private_threadpool_size = WORKERS
    return dv.make_dataset(shards_dir, "train", CLIP, batch_size=BATCH_SIZE, training=True).with_options(options)


def read_epoch(dataset):
    """(seconds to the first batch, seconds to the last one, clips)."""
    start = time.perf_counter()
    first_s, clips = None, 0
    for batch, _ in dataset:
        first_s = first_s or time.perf_counter() - start
        clips += len(batch)
    return first_s, time.perf_counter() - start, clips


def hold(clips):
    """Puts the frames of the clips into the memory of a process of a pool."""
    global held_clips
    held_clips = clips


def decode_held(number):
    import simplejpeg

    for frame in held_clips[number]:
        simplejpeg.decode_jpeg(frame)


def measure_read(annotations):
    with tempfile.TemporaryDirectory() as root:
        shards_dirs = {kind: os.path.join(root, kind) for kind in ("jpeg", "raw")}
        for kind, shards_dir in shards_dirs.items():
            build(annotations, shards_dir, _READ_CLIPS.value, kind)
        clips = [frames[: CLIP.num_frames] for frames in stored_clips(shards_dirs["jpeg"])]
        datasets = {kind: dataset_of(shards_dir) for kind, shards_dir in shards_dirs.items()}
        epochs, turbo_s = {kind: [] for kind in datasets}, []
        with ProcessPoolExecutor(WORKERS, mp_context=SPAWN, initializer=hold, initargs=(clips,)) as pool:
            for _ in range(1 + _ROUNDS.value):
                for kind, dataset in datasets.items():
                    epochs[kind].append(read_epoch(dataset))
                turbo_s.append(seconds(lambda: list(pool.map(decode_held, range(len(clips)), chunksize=16))))
    # The first round starts the processes, and reads the files into the cache.
    print_read({kind: times[1:] for kind, times in epochs.items()}, len(clips), statistics.median(turbo_s[1:]))


def print_read(epochs, turbo_clips, turbo_s):
    part = (CLIP.crop_size_px / dv.ShardSpec().frame_size_px) ** 2
    print(f"\nReading clips of {CLIP.num_frames} frames in batches of {BATCH_SIZE} with {WORKERS} threads")
    print(f"from JPEG records only the crop of {CLIP.crop_size_px} px is decoded, {part:.0%} of a frame's pixels")
    columns = ("clips", "clips/s", "frames/s", "of libjpeg-turbo", "first batch, s")
    print("{:18}{:>8}{:>10}{:>11}{:>18}{:>16}".format("", *columns))
    for kind, times in epochs.items():
        first_s, last_s = (statistics.median(column) for column in list(zip(*times, strict=True))[:2])
        clips = times[0][2]
        rate = clips / last_s
        ratio = rate / (turbo_clips / turbo_s)
        print(f"{kind + ' records':18}{clips:8}{rate:10.1f}{rate * CLIP.num_frames:11.0f}{ratio:18.2f}{first_s:16.2f}")
    rate = turbo_clips / turbo_s
    print(f"{'libjpeg-turbo':18}{turbo_clips:8}{rate:10.1f}{rate * CLIP.num_frames:11.0f}")
    print(f"goal: {GOAL:g}", flush=True)


# Memory


def repeated(annotations, root):
    """The same videos under `LARGER_BY` paths each, below a new root."""
    for number in range(LARGER_BY):
        (Path(root) / str(number)).symlink_to(Path(annotations.video_root).resolve())
    videos = tuple(
        replace(video, path=f"{number}/{video.path}") for number in range(LARGER_BY) for video in annotations.videos
    )
    return replace(annotations, video_root=str(root), videos=videos)


def read_all(shards_dir):
    read_epoch(dataset_of(shards_dir))


def peaks_of(work, *arguments):
    """(highest resident memory of a process of its own that does this work, of the largest process it starts), MiB."""
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        return pool.submit(peaks_here, work, arguments).result()


def peaks_here(work, arguments):
    children_mib, stop = {}, threading.Event()
    # Not resource.getrusage: a process that has just been started counts its parent's memory as its own.
    watch = threading.Thread(target=watch_children, args=(children_mib, stop))
    watch.start()
    try:
        work(*arguments)
    finally:
        stop.set()
        watch.join()
    return peak_mib(os.getpid()), max(children_mib.values(), default=0.0)


def watch_children(peaks_mib, stop):
    """Keeps the last peak seen of every child."""
    while not stop.wait(POLL_S):
        for path in glob.glob("/proc/self/task/*/children"):
            with contextlib.suppress(OSError, StopIteration):  # a thread or a child has just ended
                for pid in Path(path).read_text().split():
                    peaks_mib[pid] = peak_mib(pid)


def peak_mib(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024


def measure_memory(annotations):
    with tempfile.TemporaryDirectory() as root:
        sets = {"smaller": annotations, "larger": repeated(annotations, root)}
        building, reading = {}, {}
        for name, videos in sets.items():
            shards_dir = os.path.join(root, name)
            building[name] = peaks_of(build, videos, shards_dir, MEMORY_CLIPS_PER_VIDEO)
            reading[name] = peaks_of(read_all, shards_dir)
    print_memory({name: len(videos.videos) for name, videos in sets.items()}, building, reading)


def print_memory(videos, building, reading):
    counts = [videos["smaller"], videos["larger"]]
    print(
        f"\nHighest resident memory, MiB, of {counts[0]} and of {counts[1]} videos, {MEMORY_CLIPS_PER_VIDEO} clips each"
    )
    print(f"{'':28}{'smaller':>10}{'larger':>10}{'ratio':>8}")
    mains, decoders = zip(*(building[name] for name in videos), strict=True)
    rows = {
        "building: itself": mains,
        "building: largest decoder": decoders,
        f"building: all, {WORKERS} decoders": [
            main + WORKERS * decoder for main, decoder in zip(mains, decoders, strict=True)
        ],
        "reading": [reading[name][0] for name in videos],
    }
    for name, (smaller, larger) in rows.items():
        print(f"{name:28}{smaller:10.1f}{larger:10.1f}{larger / smaller:8.3f}")
    print("goal: at most 1.1", flush=True)


def main(_):
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    annotations = chosen(dv.read_folder(_VIDEO_ROOT.value), _MAX_VIDEOS.value)
    if "build" in _PARTS.value:
        measure_build(annotations)
    if "read" in _PARTS.value:
        measure_read(annotations)
    if "memory" in _PARTS.value:
        measure_memory(chosen(annotations, _MEMORY_VIDEOS.value))


flags.register_validator(_PARTS, lambda parts: set(parts) <= set(PARTS), f"only {', '.join(PARTS)}")

if __name__ == "__main__":
    app.run(main)
