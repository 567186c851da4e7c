"""Describes a model: outputs, parameters and multiply-adds of every layer; or all models side by side.

deepvideo-describe                                     all models at the paper's size
deepvideo-describe --model=slow_fusion --width=0.25    one model, every layer
"""

from absl import flags

from deepvideo_tf import cli
from deepvideo_tf.config import FUSIONS, MODEL_CLIPS, MODEL_NAMES, STREAMS, ClipSpec, TrainConfig, check_int
from deepvideo_tf.errors import ConfigError

_CONFIG = cli.ConfigFlags(
    TrainConfig,
    only=("model", "tower", "width"),
    changes={"model": {"default": None, "enum_values": MODEL_NAMES, "help": "Name of the model; by default all."}},
)
_MODEL = _CONFIG["model"]
_NUM_CLASSES = flags.DEFINE_integer("num_classes", 487, "Number of classes; 487 in the paper.")
_AS_IN_THE_PAPER = {"default": None, "note": "By default as in the paper."}
_CLIP = cli.ConfigFlags(
    ClipSpec,
    only=("num_frames", "crop_size_px"),
    changes=dict.fromkeys(("num_frames", "crop_size_px"), _AS_IN_THE_PAPER),
)


def main():
    if _CLIP["num_frames"].value is not None and _MODEL.value is None:
        raise ConfigError("--num_frames needs --model: the models take different numbers of frames")
    check_int("num_classes", _NUM_CLASSES.value, 1)
    configs = [_config(name) for name in ([_MODEL.value] if _MODEL.value else MODEL_NAMES)]
    cli.import_tensorflow()
    descriptions = {}
    with cli.progress(len(configs), "model", "described") as advance:
        for config in configs:
            descriptions[config.model] = _describe(config)
            advance()
    size = f"{_NUM_CLASSES.value} classes, width {_CONFIG['width'].value:g}"
    if _MODEL.value:
        _print_layers(f"{_MODEL.value}, {size}", descriptions[_MODEL.value])
    else:
        _print_side_by_side(size, descriptions)


def _config(name):
    return _CONFIG.config(model=name, clip=_CLIP.config(MODEL_CLIPS[name]))


def _describe(config):
    from deepvideo_tf.models.description import describe
    from deepvideo_tf.models.registry import build_model

    try:
        return describe(build_model(config.model, _NUM_CLASSES.value, **config.model_arguments()))
    except ConfigError as error:
        raise ConfigError(f"{config.model}: {error}") from None


def _total(layers, what):
    return sum(getattr(layer, what) for layer in layers)


def _print_layers(title, layers):
    _print_table(
        title,
        ("layer", "output [time, height, width, channel]", "parameters", "multiply-adds a clip"),
        [
            *((item.name, _shape(item.shape), f"{item.parameters:,}", f"{item.multiply_adds:,}") for item in layers),
            ("total", "", f"{_total(layers, 'parameters'):,}", f"{_total(layers, 'multiply_adds'):,}"),
        ],
    )


def _print_side_by_side(size, models):
    """Print a row for each model, a column for each layer with weights; the two streams' layers share a column."""
    rows = {name: _by_column(layers) for name, layers in models.items()}
    columns = list(rows["single_frame"])
    _print_table(
        f"Outputs [time, height, width, channel], of each stream where there are two; {size}",
        ("model", "clip", *columns),
        [
            (name, _shape(models[name][0].shape), *(_shape(row[column][0].shape) for column in columns))
            for name, row in rows.items()
        ],
    )
    _print_table(
        f"Parameters; {size}",
        ("model", *columns, "total"),
        [
            (
                name,
                *(f"{_total(row[column], 'parameters'):,}" for column in columns),
                f"{_total(models[name], 'parameters'):,}",
            )
            for name, row in rows.items()
        ],
    )
    _print_table(
        f"Millions of multiply-adds a clip; the last column is the full-frame total divided by it; {size}",
        ("model", *columns, "total", "ratio"),
        [
            (
                name,
                *(f"{_total(row[column], 'multiply_adds') / 1e6:,.1f}" for column in columns),
                f"{_total(models[name], 'multiply_adds') / 1e6:,.1f}",
                f"{_total(models[_full_frame(name)], 'multiply_adds') / _total(models[name], 'multiply_adds'):.2f}",
            )
            for name, row in rows.items()
        ],
    )


def _by_column(layers):
    columns = {}
    for layer in layers:
        if layer.parameters:
            prefix, _, rest = layer.name.partition("_")
            columns.setdefault(rest if prefix in STREAMS else layer.name, []).append(layer)
    return columns


def _full_frame(name):
    """Return the full-frame network of the same fusion."""
    return name if name in FUSIONS else name.partition("_")[2] or "single_frame"


def _shape(shape):
    return "x".join(map(str, shape))


def _print_table(title, header, rows):
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    print(f"{title}\n")
    for name, *cells in (header, *rows):
        print("  ".join([name.ljust(widths[0]), *map(str.rjust, cells, widths[1:])]))
    print()


def run():
    cli.run(main)


if __name__ == "__main__":
    run()
