"""A format of arrays, as a module that `FORMATS` may name."""

import numpy as np

from deepvideo_tf.formats.base import Format, Predictor, find_file, read_card, target_file


def export_npz(workdir, path):
    from deepvideo_tf.formats.card import card_text, exportable_run, reported, with_probabilities

    path = target_file(path, ".npz", "path")
    run = exportable_run(workdir)
    with reported(path):
        np.savez(
            path,
            *run.model.get_weights(),
            card=card_text(run, with_probabilities(run), format="NPZ", precision="float32"),
        )
    return path


def load(path, num_threads):
    import keras

    from deepvideo_tf.models.registry import build_model

    with np.load(path) as arrays:
        card, about = read_card(str(arrays["card"]), path)
        weights = [arrays[f"arr_{number}"] for number in range(len(arrays.files) - 1)]
    training = about["training"]
    model = build_model(
        card.model,
        len(card.classes),
        num_frames=card.clip.num_frames,
        crop_size_px=card.clip.crop_size_px,
        width=training["width"],
    )
    model.set_weights(weights)
    return Predictor(card, about, lambda clips: keras.ops.convert_to_numpy(keras.ops.softmax(model(clips))))


FORMAT = Format(
    "NPZ", "an .npz file", find_file(".npz"), load, export_npz, uses_tensorflow=True, float32_tolerance=1e-6
)
