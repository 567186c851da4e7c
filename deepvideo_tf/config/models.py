"""Every model by name, with the defaults that the paper gives it and what `TrainConfig` allows for it."""

from dataclasses import dataclass, replace

from deepvideo_tf.config.clip import ClipSpec
from deepvideo_tf.config.histograms import HistogramConfig

# The clip of each way of fusing time in the paper (section 3.1).
FUSION_CLIPS = {
    "single_frame": ClipSpec(num_frames=1),
    "early_fusion": ClipSpec(num_frames=10),
    "late_fusion": ClipSpec(num_frames=2, frame_stride=15),
    "slow_fusion": ClipSpec(num_frames=10),
}
FUSIONS = tuple(FUSION_CLIPS)

STREAMS = ("context", "fovea")
FEATURE_HISTOGRAMS = "feature_histograms"


@dataclass(frozen=True)
class ModelDefaults:
    """Defaults of one model, and what `TrainConfig` allows for it.

    Args:
        clip: the model's clip in the paper.
        optimizer: name of the default optimizer.
        options: dataclass of the options that only this model has, or None.
        cached_views: least and greatest `TrainConfig.cached_views`.
        is_precomputed: whether the model's inputs are always computed once, before training. Such a model cannot be
            fine-tuned, and its clips cannot be augmented anew in each step.
    """

    clip: ClipSpec
    optimizer: str = "sgd"
    options: type[HistogramConfig] | None = None
    cached_views: tuple[int, int] = (0, 1_000)
    is_precomputed: bool = False


def multires_name(fusion: str, stream: str | None = None) -> str:
    """Return the name of a two-stream model, or of one of its streams: `multires_slow_fusion`, `fovea_slow_fusion`.

    The single-frame ones, which the paper mentions most, are `multires`, `fovea` and `context`.
    """
    base = stream or "multires"
    return base if fusion == "single_frame" else f"{base}_{fusion}"


# The two-stream models take 178 pixels (section 3.2). The paper has single streams of the single-frame model only
# (Table 1). Its baseline takes all stored frames of a clip (section 4.1); it does not state an optimizer.
MODELS: dict[str, ModelDefaults] = (
    {fusion: ModelDefaults(clip) for fusion, clip in FUSION_CLIPS.items()}
    | {multires_name(fusion): ModelDefaults(replace(clip, crop_size_px=178)) for fusion, clip in FUSION_CLIPS.items()}
    | {stream: ModelDefaults(replace(FUSION_CLIPS["single_frame"], crop_size_px=178)) for stream in STREAMS}
    | {
        FEATURE_HISTOGRAMS: ModelDefaults(
            ClipSpec(num_frames=16), "adamw", HistogramConfig, cached_views=(1, 5), is_precomputed=True
        )
    }
)
TRAINABLE_CLIPS = {name: defaults.clip for name, defaults in MODELS.items()}
TRAINABLE_NAMES = tuple(TRAINABLE_CLIPS)

# The networks alone.
MODEL_CLIPS = {name: defaults.clip for name, defaults in MODELS.items() if not defaults.is_precomputed}
MODEL_NAMES = tuple(MODEL_CLIPS)
