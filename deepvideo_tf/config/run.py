"""What a clip is, what shards hold and what a run is: frozen dataclasses, validated, to and from JSON.

This module imports neither TensorFlow nor Keras, so that programs answer `--help` and wrong flags at once.
"""

import dataclasses
import re
from dataclasses import dataclass, replace

from deepvideo_tf.errors import ConfigError

OPTIMIZERS = ("sgd", "adamw")
STRATEGIES = ("mirrored", "downpour")  # of training on several devices; no part of what a run is
SCHEDULES = ("plateau", "constant", "cosine")
LOSSES = ("softmax", "sigmoid")
CLASS_WEIGHTS = ("none", "balanced")
FINETUNE_MODES = ("top", "top3", "all", "scratch")
FINETUNED_TOP_DROPOUT = 0.9  # section 4.2: as little as 10% of the units kept
DTYPE_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
FRAME_FORMATS = ("jpeg", "raw")


def check_int(name, value, least, most=None):
    """Refuses what is no whole number from `least` to `most`, with a ConfigError that names the argument."""
    is_int = isinstance(value, int) and not isinstance(value, bool)
    if not is_int or value < least or (most is not None and value > most):
        range_text = f"{least} or more" if most is None else f"from {least} to {most}"
        raise ConfigError(f"{name} must be a whole number, {range_text}. Received: {value!r}")


def check_number(name, value, above=None, least=None, below=None):
    """Refuses what is no finite number within the bounds, with a ConfigError that names the argument."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    bounds = ["finite"] + [f"above {above}"] * (above is not None) + [f"at least {least}"] * (least is not None)
    bounds += [f"below {below}"] * (below is not None)
    inside = (
        is_number
        and (above is None or value > above)
        and (least is None or value >= least)
        and value < (float("inf") if below is None else below)
    )
    if not inside:
        raise ConfigError(f"{name} must be a number, {' and '.join(bounds)}. Received: {value!r}")


def check_choice(name, value, choices):
    """Refuses what is none of the choices, with a ConfigError that names the argument."""
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(map(str, choices))}. Received: {value!r}")


@dataclass(frozen=True)
class ClipSpec:
    """What a model sees of a stored clip.

    Args:
        num_frames: frames of the model's clip.
        frame_stride: stored frames from one frame of the model's clip to the next; 15 for late fusion (section 3.1).
        crop_size_px: height and width of the square cut out of the stored frame; 170, or 178 for the two-stream nets
            (section 3.3).
        flip: whether a mirror image keeps its label: training then mirrors half of the clips and evaluation half of the
            views. Off where left and right are what tells the classes apart.

    Raises:
        ConfigError: a field is outside its range.
    """

    num_frames: int = 1
    frame_stride: int = 1
    crop_size_px: int = 170
    flip: bool = True

    def __post_init__(self):
        check_int("num_frames", self.num_frames, 1, 1_000)
        check_int("frame_stride", self.frame_stride, 1, 1_000)
        check_int("crop_size_px", self.crop_size_px, 11, 2_000)
        if not isinstance(self.flip, bool):
            raise ConfigError(f"flip must be true or false. Received: {self.flip!r}")

    @property
    def span(self):
        """Stored frames from the first to the last frame of the model's clip, both counted."""
        return (self.num_frames - 1) * self.frame_stride + 1


@dataclass(frozen=True)
class ShardSpec:
    """What the clips in the shards are.

    Args:
        clips_per_video: clips taken from each video at most, evenly spaced; 20 in the paper's test protocol
            (section 4.1), up to 100 in its training set.
        clip_frames: stored frames of a clip, 16 or more, so that late fusion's two frames 15 apart fit. Differs from
            the paper, whose clips last half a second (section 4.1): at 25 frames a second 16 frames last 0.64 s.
        frame_rate_fps: frames a second of the stored clips. Frames are chosen by time, so videos of any rate
            move at the same speed in the shards. Differs from the paper, which is silent on it.
        frame_size_px: height and width of the stored frames; 200 in the paper (section 3.3).
        frame_format: `jpeg`, or `raw` for pixels as they are, which take some twelve times the space and no decoding.
        jpeg_quality: 1 to 100.

    Raises:
        ConfigError: a field is outside its range.
    """

    clips_per_video: int = 20
    clip_frames: int = 16
    frame_rate_fps: float = 25.0
    frame_size_px: int = 200
    frame_format: str = "jpeg"
    jpeg_quality: int = 90

    def __post_init__(self):
        check_int("clips_per_video", self.clips_per_video, 1, 10_000)
        check_int("clip_frames", self.clip_frames, 16, 1_000)
        check_number("frame_rate_fps", self.frame_rate_fps, above=0, below=1_000)
        object.__setattr__(self, "frame_rate_fps", float(self.frame_rate_fps))  # 25 and 25.0 are one setting
        check_int("frame_size_px", self.frame_size_px, 16, 2_000)
        check_choice("frame_format", self.frame_format, FRAME_FORMATS)
        check_int("jpeg_quality", self.jpeg_quality, 1, 100)


@dataclass(frozen=True)
class DecodeLimits:
    """What one untrusted video may cost; past a limit it is a bad video.

    Args:
        decode_timeout_s: seconds that decoding may take, above 0 and at most a day.
        max_frame_pixels: height times width of a frame.
        max_video_frames: frames of the video.
        max_video_bytes: size of the file.
        use_truncated: whether a file that ends before its container says is used up to there, and not refused.

    Raises:
        ConfigError: a field is outside its range.
    """

    decode_timeout_s: float = 60.0
    max_frame_pixels: int = 4096 * 2304
    max_video_frames: int = 1_000_000
    max_video_bytes: int = 16 * 2**30
    use_truncated: bool = False

    def __post_init__(self):
        if not 0 < self.decode_timeout_s <= 86_400:
            raise ConfigError(
                f"decode_timeout_s must be above 0 and at most 86400. Received: {self.decode_timeout_s!r}"
            )
        check_int("max_frame_pixels", self.max_frame_pixels, 1)
        check_int("max_video_frames", self.max_video_frames, 1)
        check_int("max_video_bytes", self.max_video_bytes, 1)
        if not isinstance(self.use_truncated, bool):
            raise ConfigError(f"use_truncated must be true or false. Received: {self.use_truncated!r}")


# What each way of fusing time sees in the paper (section 3.1).
FUSION_CLIPS = {
    "single_frame": ClipSpec(num_frames=1),
    "early_fusion": ClipSpec(num_frames=10),
    "late_fusion": ClipSpec(num_frames=2, frame_stride=15),
    "slow_fusion": ClipSpec(num_frames=10),
}
FUSIONS = tuple(FUSION_CLIPS)

STREAMS = ("context", "fovea")


def multires_name(fusion, stream=None):
    """The name of a two-stream net, or of one of its streams alone: `multires_slow_fusion`, `fovea_slow_fusion`.

    The single-frame ones, which the paper speaks of most, are `multires`, `fovea` and `context`.
    """
    base = stream or "multires"
    return base if fusion == "single_frame" else f"{base}_{fusion}"


# Every model and the clip it sees in the paper; the two-stream nets take 178 pixels (section 3.2). Of the streams alone
# the paper has those of the single-frame net (Table 1).
MODEL_CLIPS = (
    FUSION_CLIPS
    | {multires_name(fusion): replace(clip, crop_size_px=178) for fusion, clip in FUSION_CLIPS.items()}
    | {stream: replace(FUSION_CLIPS["single_frame"], crop_size_px=178) for stream in STREAMS}
)
MODEL_NAMES = tuple(MODEL_CLIPS)

# What can be trained: the networks, and the paper's baseline, which sees all stored frames of a clip (section 4.1).
FEATURE_HISTOGRAMS = "feature_histograms"
TRAINABLE_CLIPS = MODEL_CLIPS | {FEATURE_HISTOGRAMS: ClipSpec(num_frames=16)}
TRAINABLE_NAMES = tuple(TRAINABLE_CLIPS)
MAX_CACHED_HISTOGRAMS = 5  # views of a clip


@dataclass(frozen=True)
class TrainConfig:
    """What a run is. The defaults are the paper's (section 3.3), except where a line says so.

    Args:
        model: one of `TRAINABLE_NAMES`.
        clip: what the model sees; by default the model's clip in the paper.
        width: scale of all filters and hidden units; 1 is the paper's.
        histogram_words: of `feature_histograms` alone, the words of each codebook; 850 give 24,759 dimensions, the
            paper has 25,000 (section 4.1).
        hidden_layers: of `feature_histograms` alone, 1 or 2.
        dropout: rate after the first hidden dense layer, and after the second unless `top_dropout` is given.
        top_dropout: rate after the second hidden dense layer, just below the top layer; by default 0.9 where a
            pretrained net is fine-tuned (section 4.2), else `dropout`.
        lrn_beta: exponent of the local response normalisation.
        init_from: folder of a run whose weights this one starts from; None to start from random ones.
        finetune: which layers are then trained: `top` (the top layer), `top3` (all three dense layers), `all`, or
            `scratch` (all, and nothing is taken from the other run), the modes of section 4.2. Must be given with
            `init_from`.
        cached_views: in the modes `top` and `top3`, the number of augmented views of each clip whose features are
            computed once, before training; 0 computes them anew in every step, from ever new views. Of
            `feature_histograms`, whose features are always computed once, 1 to 5.
        loss: `softmax`, cross-entropy of one distribution over the classes; or `sigmoid`, the sum of the classes'
            binary cross-entropies, for videos of several labels.
        label_smoothing: part of the target that is spread over the classes; 0 in the paper.
        class_weights: `none`, or `balanced`: clips count in inverse proportion to how many their class has.
        optimizer: `sgd` (with momentum) or `adamw`; by default `sgd`, the paper's, but `adamw` for
            `feature_histograms`, of which the paper does not say.
        momentum: of `sgd`; 0.9 in the paper.
        learning_rate: above 0; 1e-3 in the paper.
        schedule: `plateau` divides the rate by 10 when the validation error has stopped improving, or, where there are
            no validation shards, the training loss; `cosine` goes down to 0 over the run; `constant`.
        plateau_epochs: epochs without improvement before the rate is lowered. Differs from the paper, which does not
            say how many, nor by how much it is lowered.
        warmup_steps: steps over which the rate rises from 0; 0 in the paper.
        max_gradient_norm: above 0 scales gradients down to this norm, all together; 0, not at all, in the paper.
        weight_decay: 0 or more, decoupled from the gradient as Keras has it; 5e-4 in the paper.
        global_batch_size: clips a step; 32 in the paper.
        num_epochs: times that training sees one clip out of each stored clip. Differs from the paper, which trained for
            a month.
        colour_jitter: how far saturation, contrast and brightness of the training clips are changed; 0 in the paper.
        time_jitter: by what part the distance of the training clips' frames is changed; 0 in the paper.
        mixup_alpha: above 0 mixes the clips of a training batch, in a proportion from Beta(alpha, alpha); 0 in the
            paper.
        dtype_policy: Keras's mixed-precision policy. Whether half precision is faster depends on the processor.
        seed: of the initial weights, the order of the clips, the augmentation and the dropout.

    Raises:
        ConfigError: a field is outside its range.
    """

    model: str = "multires"
    clip: ClipSpec = None  # type: ignore[assignment]  # __post_init__ puts the model's own
    width: float = 1.0
    histogram_words: int = 850
    hidden_layers: int = 1
    dropout: float = 0.5
    top_dropout: float = None  # type: ignore[assignment]  # as above
    lrn_beta: float = 0.5
    init_from: str | None = None
    finetune: str = None  # type: ignore[assignment]  # as above
    cached_views: int = 4
    loss: str = "softmax"
    label_smoothing: float = 0.0
    class_weights: str = "none"
    optimizer: str = None  # type: ignore[assignment]  # as above
    momentum: float = 0.9
    learning_rate: float = 1e-3
    schedule: str = "plateau"
    plateau_epochs: int = 5
    warmup_steps: int = 0
    max_gradient_norm: float = 0.0
    weight_decay: float = 5e-4
    global_batch_size: int = 32
    num_epochs: int = 10
    colour_jitter: float = 0.0
    time_jitter: float = 0.0
    mixup_alpha: float = 0.0
    dtype_policy: str = "float32"
    seed: int = 0

    def __post_init__(self):
        check_choice("model", self.model, TRAINABLE_NAMES)
        if self.init_from is not None:
            object.__setattr__(self, "init_from", str(self.init_from))  # a Path is no JSON
        elif self.finetune is None:
            object.__setattr__(self, "finetune", "scratch")
        if self.finetune is None:
            raise ConfigError(f"finetune must be given with init_from: one of {', '.join(FINETUNE_MODES)}")
        check_choice("finetune", self.finetune, FINETUNE_MODES)
        if self.init_from is None and self.finetune != "scratch":
            raise ConfigError(f"init_from must be the folder of a run for finetune={self.finetune}. Received: none")
        if self.clip is None:
            object.__setattr__(self, "clip", TRAINABLE_CLIPS[self.model])
        if self.top_dropout is None:
            of_section_4_2 = self.dropout if self.finetune == "scratch" else FINETUNED_TOP_DROPOUT
            object.__setattr__(self, "top_dropout", of_section_4_2)
        if self.optimizer is None:
            object.__setattr__(self, "optimizer", "adamw" if self.model == FEATURE_HISTOGRAMS else "sgd")
        check_number("width", self.width, above=0, below=8)
        check_int("histogram_words", self.histogram_words, 1, 100_000)
        check_int("hidden_layers", self.hidden_layers, 1, 2)
        check_number("dropout", self.dropout, least=0, below=1)
        check_number("top_dropout", self.top_dropout, least=0, below=1)
        check_number("lrn_beta", self.lrn_beta, above=0, below=8)
        check_int("cached_views", self.cached_views, 0, 1_000)
        check_choice("loss", self.loss, LOSSES)
        check_number("label_smoothing", self.label_smoothing, least=0, below=1)
        check_choice("class_weights", self.class_weights, CLASS_WEIGHTS)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_number("momentum", self.momentum, least=0, below=1)
        check_number("learning_rate", self.learning_rate, above=0)
        check_choice("schedule", self.schedule, SCHEDULES)
        check_int("plateau_epochs", self.plateau_epochs, 1, 1_000_000)
        check_int("warmup_steps", self.warmup_steps, 0)
        check_number("max_gradient_norm", self.max_gradient_norm, least=0)
        check_number("weight_decay", self.weight_decay, least=0)
        check_int("global_batch_size", self.global_batch_size, 1, 1_000_000)
        check_int("num_epochs", self.num_epochs, 1, 1_000_000)
        check_number("colour_jitter", self.colour_jitter, least=0, below=1)
        check_number("time_jitter", self.time_jitter, least=0, below=1)
        check_number("mixup_alpha", self.mixup_alpha, least=0)
        check_choice("dtype_policy", self.dtype_policy, DTYPE_POLICIES)
        check_int("seed", self.seed, 0, 2**31 - 1)
        if self.model == FEATURE_HISTOGRAMS:
            self._check_histograms()

    def _check_histograms(self):
        """Refuses what features that are computed once cannot give, instead of leaving it out."""
        if self.init_from is not None:
            raise ConfigError(f"init_from must not be given for {self.model}. Received: {self.init_from!r}")
        for name in ("colour_jitter", "time_jitter", "mixup_alpha"):
            if getattr(self, name):
                raise ConfigError(
                    f"{name} must be 0 for {self.model}, whose features are computed once. "
                    f"Received: {getattr(self, name)!r}"
                )
        check_int("cached_views", self.cached_views, 1, MAX_CACHED_HISTOGRAMS)

    def model_arguments(self):
        """What builds the model besides its name and the number of classes."""
        if self.model == FEATURE_HISTOGRAMS:
            return {
                "num_words": self.histogram_words,
                "hidden_layers": self.hidden_layers,
                "width": self.width,
                "dropout": (self.dropout, self.top_dropout),
            }
        first_dropout = 0.0 if self.finetune == "top" else self.dropout  # frozen layers are in inference mode
        return {
            "num_frames": self.clip.num_frames,
            "crop_size_px": self.clip.crop_size_px,
            "width": self.width,
            "dropout": (first_dropout, self.top_dropout),
            "lrn_beta": self.lrn_beta,
        }


CARD_NAME = "model_card.json"  # inside an exported model


@dataclass(frozen=True)
class ModelCard:
    """What one must know to use a trained model: it travels inside checkpoints, SavedModels and TFLite files.

    Args:
        model: name of the model.
        classes: class names in the order of the model's outputs.
        clip: what the model sees of a stored clip.
        shards: how the clips were made from videos; prediction makes them the same way.
        loss: what it is trained with: `softmax` makes its probabilities a distribution, `sigmoid` one for each class.

    Raises:
        ConfigError: a field is not of its kind.
    """

    model: str
    classes: tuple[str, ...]
    clip: ClipSpec
    shards: ShardSpec
    loss: str = "softmax"

    def __post_init__(self):
        check_choice("model", self.model, TRAINABLE_NAMES)
        check_choice("loss", self.loss, LOSSES)
        if not self.classes or not all(isinstance(name, str) for name in self.classes):
            raise ConfigError(f"classes must be a list of class names. Received: {self.classes!r:.80}")
        if not isinstance(self.clip, ClipSpec) or not isinstance(self.shards, ShardSpec):
            raise ConfigError("clip and shards must describe the clips")


@dataclass(frozen=True)
class Place:
    """Which of the processes this one is, and where they meet.

    Args:
        number: of this process, from 0.
        count: how many there are.
        coordinator_address: `HOST:PORT` of the first one, which listens there; None where there is one.

    Raises:
        ConfigError: a field is outside its range.
    """

    number: int
    count: int
    coordinator_address: str | None = None

    def __post_init__(self):
        if not 0 <= self.number < self.count:
            raise ConfigError(
                f"process_id must be at least 0 and below the {self.count} of num_processes. Received: {self.number}"
            )
        if self.count > 1 and self.coordinator_address is None:
            raise ConfigError(f"coordinator_address must be given for num_processes={self.count}: HOST:PORT")
        port = re.fullmatch(r".+:(\d{1,5})", self.coordinator_address or "HOST:1")
        if port is None or not 0 < int(port[1]) < 65536:
            raise ConfigError(f"coordinator_address must be HOST:PORT. Received: {self.coordinator_address!r}")


def to_json(config):
    """A configuration as plain data for `json.dump`."""
    return dataclasses.asdict(config)


def from_json(kind, data, source):
    """A configuration from what `to_json` made.

    Args:
        kind: `ClipSpec`, `ShardSpec`, `TrainConfig` or `ModelCard`.
        data: plain data, as `json.load` gives it.
        source: the file it came from, for messages.

    Returns:
        A `kind`.

    Raises:
        ConfigError: `data` is not such a configuration.
    """
    names = {item.name for item in dataclasses.fields(kind)}
    if not isinstance(data, dict) or not set(data) <= names:
        came = sorted(set(data) - names) if isinstance(data, dict) else type(data).__name__
        raise ConfigError(f"{source}: expected a {kind.__name__} with {', '.join(sorted(names))}. Received: {came}")
    nested = {"clip": ClipSpec, "shards": ShardSpec}
    values = {
        name: from_json(nested[name], value, source) if name in nested and value is not None else value
        for name, value in data.items()
    }
    if isinstance(values.get("classes"), list):
        values["classes"] = tuple(values["classes"])
    try:
        return kind(**values)
    except (TypeError, ConfigError) as error:
        raise ConfigError(f"{source}: {error}") from None
