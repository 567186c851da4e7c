"""How fast every model trains and answers at the paper's size, and how much of the machine it uses.

  python benchmarks/model_speed.py                       all models; 3 to 15 minutes on 2 cores
  python benchmarks/model_speed.py --fusions=slow_fusion --batch_size=8

Random clips, SGD with momentum. Each round takes one step of every side in turn, so that a machine that slows down does
so for all; medians over the rounds are printed. GFLOP/s counts two operations for each multiply-add that
`deepvideo-describe` shows: once for an answer; for a training step twice more, for the gradients of weights and of
inputs, but for the pixels, which need none.
"""

import statistics

import keras
import tensorflow as tf
from absl import app, flags

import deepvideo_tf as dv
from deepvideo_tf.config import FUSIONS, STREAMS, multires_name
from deepvideo_tf.reporting.paper import SPEED_UP
from deepvideo_tf.reporting.speed import TimedModel, seconds_of

_FUSIONS = flags.DEFINE_multi_enum("fusions", FUSIONS, FUSIONS, "Which models; the streams alone go with single_frame.")
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Clips a step; 32 in the paper.", lower_bound=1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Steps of each side.", lower_bound=1)

POLICIES = ("float32", "mixed_bfloat16")
MATRIX_SIZE = 2048


def matrix_product(policy):
    """A function that multiplies two square matrices and waits for the result."""
    dtype = tf.bfloat16 if policy == "mixed_bfloat16" else tf.float32
    factors = [tf.cast(tf.random.normal((MATRIX_SIZE, MATRIX_SIZE), seed=seed), dtype) for seed in (0, 1)]
    product = tf.function(lambda a, b: tf.reduce_sum(tf.matmul(a, b)))
    return lambda: product(*factors).numpy()


def names_of(fusion):
    return [fusion, multires_name(fusion), *(STREAMS if fusion == "single_frame" else ())]


def measure(fusion, peaks):
    """The sides of one fusion, timed in turn; the times of matrix products are added to `peaks`."""
    sides = {
        (name, policy): TimedModel(name, _BATCH_SIZE.value, policy=policy)
        for name in names_of(fusion)
        for policy in POLICIES
    }
    products = {policy: matrix_product(policy) for policy in POLICIES}
    for number in range(1 + _ROUNDS.value):
        for side in sides.values():
            side.step()
        for policy, product in products.items():
            peaks[policy].append(seconds_of(product))
        if number == 0:  # the first round traces and compiles
            for side in sides.values():
                side.forget()
            for policy in POLICIES:
                peaks[policy].pop()
    return {key: rates_of(side) for key, side in sides.items()}


def rates_of(side):
    """Clips/s of training and of inference, and the GFLOP/s of each."""
    train, answer = side.clips_per_s()
    return train, answer, train * side.train_ops / 1e9, answer * side.answer_ops / 1e9


def main(_):
    tf.get_logger().setLevel("ERROR")  # it warns of one trace for each model
    peaks = {policy: [] for policy in POLICIES}
    rates, multiply_adds = {}, {}
    for fusion in _FUSIONS.value:
        rates |= measure(fusion, peaks)
        keras.backend.clear_session()
        for name in names_of(fusion):
            multiply_adds[name] = sum(layer.multiply_adds for layer in dv.describe(dv.build_model(name, 487)))
    print_rates(rates, {policy: 2 * MATRIX_SIZE**3 / statistics.median(times) / 1e9 for policy, times in peaks.items()})
    print_ratios(rates, multiply_adds)


def print_rates(rates, peaks):
    for policy, peak in peaks.items():
        print(f"\n{policy}, batches of {_BATCH_SIZE.value}")
        print(f"peak, a product of two matrices of {MATRIX_SIZE} x {MATRIX_SIZE}: {peak:.0f} GFLOP/s")
        print(f"{'':22}{'training':>30}{'inference':>30}")
        print(f"{'model':22}" + 2 * f"{'clips/s':>10}{'GFLOP/s':>10}{'of peak':>10}")
        for (name, of_policy), (train, answer, train_gflops, answer_gflops) in rates.items():
            if of_policy == policy:
                print(
                    f"{name:22}{train:10.2f}{train_gflops:10.1f}{train_gflops / peak:10.0%}"
                    f"{answer:10.2f}{answer_gflops:10.1f}{answer_gflops / peak:10.0%}"
                )


def print_ratios(rates, multiply_adds):
    print("\nTwo streams, times as fast as the full frame of the same fusion")
    columns = [f"{what}, {policy}" for policy in POLICIES for what in ("training", "inference")]
    print(f"{'fusion':14}{'paper':>7}{'multiply-adds':>15}" + "".join(f"{column:>27}" for column in columns))
    for fusion in _FUSIONS.value:
        full, two = fusion, multires_name(fusion)
        ratios = [rates[two, policy][which] / rates[full, policy][which] for policy in POLICIES for which in (0, 1)]
        print(
            f"{fusion:14}{SPEED_UP.get(fusion, '-'):>7}{multiply_adds[full] / multiply_adds[two]:15.2f}"
            + "".join(f"{ratio:27.2f}" for ratio in ratios)
        )


if __name__ == "__main__":
    app.run(main)
