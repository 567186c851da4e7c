"""What slow fusion saves when frames come one by one and neighbouring clips share their responses.

  python benchmarks/streaming.py

One video of random frames at the paper's size. Both sides answer for the same clips, in turn: the stream with what it
kept, the net with the whole clip. Medians over the clips, from the one on which all that can be shared is; the stream
itself counts its multiply-adds as it works.

Time shrinks less than multiply-adds do: both sides read all weights of the dense layers for each answer, 0.3 to 0.5 GB.
"""

import statistics
import time

import numpy as np
from absl import app, flags

import deepvideo_tf as dv

_HOPS_FRAMES = flags.DEFINE_multi_integer(
    "hop_frames", [1, 2, 4, 8], "Frames from one clip to the next.", lower_bound=1
)
_CLIPS = flags.DEFINE_integer("clips", 20, "Clips that are timed.", lower_bound=1)


def measure(model, hop_frames):
    """Multiply-adds and seconds per clip, of the net and of the stream, and the largest difference of their logits."""
    num_frames = model.input_shape[1]
    warm_up = num_frames // hop_frames + 1  # clips until every response that can be shared is
    length = num_frames + (warm_up + _CLIPS.value) * hop_frames
    frames = np.random.default_rng(0).integers(0, 256, (length, *model.input_shape[2:]), dtype=np.uint8)
    stream = dv.SlowFusionStream(model, hop_frames=hop_frames)
    work, stream_s, net_s, difference = [], [], [], 0.0
    spent_s, before = 0.0, 0
    for index, frame in enumerate(frames):
        start = time.perf_counter()
        answer = stream.push(frame)
        spent_s += time.perf_counter() - start
        if answer is None:
            continue
        clip = frames[None, index + 1 - num_frames : index + 1]
        start = time.perf_counter()
        expected = model.predict_on_batch(clip)[0]
        net_s.append(time.perf_counter() - start)
        stream_s.append(spent_s)
        work.append(stream.multiply_adds - before)
        difference = max(difference, float(np.abs(answer - expected).max()))
        spent_s, before = 0.0, stream.multiply_adds
    net_work = sum(layer.multiply_adds for layer in dv.describe(model))
    medians = [statistics.median(values[warm_up:]) for values in (work, net_s, stream_s)]
    return net_work, *medians, difference


def main(_):
    header = ("model", "hop", "net", "stream", "ratio", "net", "stream", "ratio", "difference")
    print(f"{'':22}{'':>5}{'million multiply-adds a clip':>30}{'milliseconds a clip':>30}{'largest':>12}")
    print("{:22}{:>5}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>12}".format(*header))
    for name in ("slow_fusion", "multires_slow_fusion"):
        model = dv.build_model(name, 487)
        for hop_frames in _HOPS_FRAMES.value:
            net_work, work, net_s, stream_s, difference = measure(model, hop_frames)
            print(
                f"{name:22}{hop_frames:5}{net_work / 1e6:10.1f}{work / 1e6:10.1f}{net_work / work:10.2f}"
                f"{net_s * 1e3:10.1f}{stream_s * 1e3:10.1f}{net_s / stream_s:10.2f}{difference:12.1e}"
            )


if __name__ == "__main__":
    app.run(main)
