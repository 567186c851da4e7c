"""The networks: tower x fusion x streams, all assembled here and registered under their names (section 3)."""

from functools import partial
from itertools import product

import keras

from deepvideo_tf.config import (
    FUSIONS,
    MODEL_CLIPS,
    STREAMS,
    check_choice,
    check_int,
    check_number,
    multires_name,
)
from deepvideo_tf.errors import ConfigError
from deepvideo_tf.models.heads import HEADS, LOGITS, Rates, dropout_pair
from deepvideo_tf.models.info import FULL_FRAME, ModelInfo
from deepvideo_tf.models.layers import SplitFrames, TemporalWindows
from deepvideo_tf.models.registry import DEFAULT_TOWER, full_name, register_model
from deepvideo_tf.models.towers import load_tower
from deepvideo_tf.models.views import VIEWS

# A window is (size, stride): how many neighboring columns a convolution sees, and by how many it moves on. There is one
# for each stage of a tower.
Windows = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
NO_WINDOWS: Windows = ((1, 1), (1, 1), (1, 1))
SLOW_WINDOWS: Windows = ((4, 2), (2, 2), (2, 2))  # 10 frames -> 4 -> 2 -> 1
MIN_FRAMES = {"single_frame": 1, "early_fusion": 1, "late_fusion": 2, "slow_fusion": 10}
FRAMES = "frames"


def fusion_windows(fusion: str, num_frames: int) -> Windows:
    """Return the windows of each stage; raise ConfigError if the fusion cannot take so many frames."""
    if fusion == "single_frame" and num_frames != 1:
        raise ConfigError(f"num_frames must be 1 for single_frame. Received: {num_frames!r}")
    if num_frames < MIN_FRAMES[fusion]:
        raise ConfigError(f"num_frames must be {MIN_FRAMES[fusion]} or more for {fusion}. Received: {num_frames!r}")
    if fusion == "slow_fusion" and num_frames % 8 != 2:
        # Other lengths leave frames at the end that no window covers.
        raise ConfigError(f"num_frames must be 10, 18, 26 or so on by 8 for slow_fusion. Received: {num_frames!r}")
    if fusion == "early_fusion":
        return ((num_frames, 1), (1, 1), (1, 1))
    return SLOW_WINDOWS if fusion == "slow_fusion" else NO_WINDOWS


def network(
    fusion: str,
    streams: tuple[str, ...],
    num_classes: int,
    *,
    num_frames: int | None = None,
    crop_size_px: int | None = None,
    width: float = 1.0,
    dropout: Rates = 0.5,
    lrn_beta: float = 0.5,
    tower: str = DEFAULT_TOWER,
) -> keras.Model:
    """Build a network; `streams` is empty for one tower over whole frames. `multires` describes the other arguments."""
    check_choice("fusion", fusion, FUSIONS)
    parts = load_tower(tower)
    paper = MODEL_CLIPS[multires_name(fusion) if streams else fusion]
    num_frames = paper.num_frames if num_frames is None else num_frames
    crop_size_px = paper.crop_size_px if crop_size_px is None else crop_size_px
    check_int("num_classes", num_classes, 1)
    check_int("num_frames", num_frames, 1)
    check_int("crop_size_px", crop_size_px, parts.min_crop_size_px * (2 if streams else 1))
    check_number("width", width, above=0, below=8)
    for rate in dropout_pair(dropout):
        check_number("dropout", rate, least=0, below=1)
    check_number("lrn_beta", lrn_beta, above=0, below=8)
    windows = fusion_windows(fusion, num_frames)

    clip = keras.Input((num_frames, crop_size_px, crop_size_px, 3), dtype="uint8", name="clip")
    pixels = keras.layers.Rescaling(scale=parts.scale, offset=parts.offset, name=parts.pixels)(clip)
    frames = SplitFrames(name=FRAMES)(pixels)
    ends: list[keras.KerasTensor] = []
    for stream in streams or (FULL_FRAME,):
        columns = VIEWS[stream](frames, crop_size_px) if streams else frames
        prefix = _prefix(stream)
        stages = parts.stages(prefix, width=width, lrn_beta=lrn_beta, is_stream=bool(streams))
        for stage, layer, window in zip(stages, parts.windowed, windows, strict=True):
            if window != (1, 1):
                columns = TemporalWindows(*window, name=f"{prefix}{layer}_windows")(columns)
            columns = stage(columns)
        ends += columns
    logits = HEADS[parts.head].build(ends, num_classes=num_classes, width=width, dropout=dropout)
    return keras.Model(clip, logits, name=full_name(_name(fusion, streams), tower))


def _name(fusion: str, streams: tuple[str, ...]) -> str:
    if not streams:
        return fusion
    return multires_name(fusion, None if streams == STREAMS else streams[0])


def _prefix(stream: str) -> str:
    return "" if stream == FULL_FRAME else f"{stream}_"


def _info(fusion: str, streams: tuple[str, ...], tower: str) -> ModelInfo:
    parts = load_tower(tower)
    head = HEADS[parts.head]
    prefixes = {stream: _prefix(stream) for stream in streams or (FULL_FRAME,)}

    def in_streams(layers: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(prefix + layer for prefix in prefixes.values()) for layer in layers)

    return ModelInfo(
        _name(fusion, streams),
        section="3.2" if streams else "3.1",
        head=LOGITS,
        tower=tower,
        groups=head.groups,
        first_convs={stream: prefix + parts.windowed[0] for stream, prefix in prefixes.items()},
        windowed=in_streams(parts.windowed),
        pixels=parts.pixels,
        frames=FRAMES,
        views={stream: stream for stream in streams},
        vector=head.vector,
        joined=head.joined,
        fitted=in_streams(parts.fitted) + tuple((layer,) for layer in head.hidden),
        low_rank_dense=head.hidden,
        low_rank_convs=tuple(name for names in in_streams(parts.low_rank_convs) for name in names),
        float32_layers=parts.float32_layers,
    )


for _fusion, _streams in product(FUSIONS, ((), STREAMS, *((stream,) for stream in STREAMS))):
    register_model(_name(_fusion, _streams), partial(_info, _fusion, _streams))(partial(network, _fusion, _streams))
