"""The configuration of a training run."""

from dataclasses import dataclass
from typing import Any

from deepvideo_tf.config.checks import check_choice, check_fields, check_int, choice, number, whole
from deepvideo_tf.config.clip import ClipSpec
from deepvideo_tf.config.histograms import HistogramConfig
from deepvideo_tf.config.models import MODELS, TRAINABLE_NAMES
from deepvideo_tf.errors import ConfigError

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("plateau", "constant", "cosine")
LOSSES = ("softmax", "sigmoid")
CLASS_WEIGHTS = ("none", "balanced")
DTYPE_POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
FINETUNED_TOP_DROPOUT = 0.9  # section 4.2: as few as 10% of the units kept


@dataclass(frozen=True)
class FinetuneMode:
    """One way to start from another run (section 4.2).

    Args:
        takes_weights: whether the run takes the weights of `init_from`.
        trains_hidden: whether hidden dense layers are trained. Frozen ones run in inference mode, without dropout.
        freezes: whether some layers keep their weights.
    """

    takes_weights: bool
    trains_hidden: bool
    freezes: bool = False


FINETUNE_MODES = {
    "top": FinetuneMode(takes_weights=True, trains_hidden=False, freezes=True),
    "top3": FinetuneMode(takes_weights=True, trains_hidden=True, freezes=True),
    "all": FinetuneMode(takes_weights=True, trains_hidden=True),
    "scratch": FinetuneMode(takes_weights=False, trains_hidden=True),
}


@dataclass(frozen=True)
class TrainConfig:
    """The configuration of a training run. Defaults are the paper's (section 3.3), except where noted.

    Args:
        model: name of the model, one of `MODELS`.
        tower: name of the network that turns frames into feature maps.
        clip: the part of a stored clip that the model takes; by default the model's clip in the paper.
        width: scale of all filters and hidden units, above 0 and below 8; 1 is the paper's.
        options: options that only this model has: a `HistogramConfig` for `feature_histograms`
            (section 4.1), None for all others.
        dropout: dropout rate after the first hidden dense layer, and after the second unless `top_dropout` is given;
            at least 0 and below 1.
        top_dropout: dropout rate after the second hidden dense layer, just below the top layer, at least 0 and below 1;
            by default 0.9 in fine-tuning (section 4.2), else `dropout`.
        lrn_beta: exponent of the local response normalization, above 0 and below 8.
        init_from: folder of the run whose weights this one starts from; by default the weights are random.
        finetune: with `init_from`, which layers are trained: `top` (the top layer), `top3` (all three dense layers),
            `all`, or `scratch` (all, and the other run's weights are not used), as in section 4.2.
        cached_views: with `finetune` `top` or `top3`, number of augmented views of each clip whose features are
            computed once, before training, up to 1,000; 0 computes features of new views in every step. With
            `feature_histograms`, whose features are always computed once, 1 to 5.
        loss: `softmax`, the cross-entropy of one distribution over the classes; or `sigmoid`, the sum of each class's
            binary cross-entropy, for videos with several labels.
        label_smoothing: fraction of the target spread over all classes, at least 0 and below 1; 0 in the paper.
        class_weights: `none`, or `balanced`, which weights clips in inverse proportion to the size of their class.
        optimizer: `sgd` (with momentum) or `adamw`; by default `sgd`, as in the paper, or `adamw` for
            `feature_histograms`, for which the paper does not state one.
        momentum: SGD momentum, in [0, 1); 0.9 in the paper.
        learning_rate: initial learning rate, above 0; 1e-3 in the paper.
        schedule: learning-rate schedule. `plateau` divides the rate by 10 when the validation error stops improving,
            or the training loss if there are no validation shards; `cosine` decays it to 0 over the run; `constant`.
        plateau_epochs: epochs without improvement before `plateau` lowers the rate, 1 or more. Differs from the paper,
            which states neither this number nor the factor.
        warmup_steps: steps over which the learning rate rises from 0, 0 or more; 0 in the paper.
        max_gradient_norm: norm that longer gradients are scaled down to, all together, above 0; 0 for no limit, as in
            the paper.
        weight_decay: weight decay, decoupled from the gradient as in Keras, 0 or more; 5e-4 in the paper.
        global_batch_size: clips per step, on all devices together; 32 in the paper.
        num_epochs: passes over the shards, each with one view of every stored clip. Differs from the paper, which
            trained for a month.
        colour_jitter: strength of random changes to saturation, contrast and brightness of training clips, at least 0
            and below 1; 0 in the paper.
        time_jitter: fraction by which the distance between the frames of training clips varies, at least 0 and below 1;
            0 in the paper.
        mixup_alpha: if above 0, clips of a training batch are mixed in a proportion drawn from Beta(alpha, alpha); 0 in
            the paper.
        dtype_policy: Keras's mixed-precision policy. Whether half precision is faster depends on the processor.
        seed: seed of initial weights, clip order, augmentation and dropout, 0 or more.

    Raises:
        ConfigError: a field is outside its range.
    """

    model: str = choice("multires", TRAINABLE_NAMES)
    tower: str = "alexnet"
    clip: ClipSpec = None  # type: ignore[assignment]  # __post_init__ sets the model's own
    width: float = number(1.0, above=0, below=8)
    options: HistogramConfig | None = None
    dropout: float = number(0.5, least=0, below=1)
    top_dropout: float = number(None, least=0, below=1)
    lrn_beta: float = number(0.5, above=0, below=8)
    init_from: str | None = None
    finetune: str = choice(None, FINETUNE_MODES)
    cached_views: int = whole(4, 0, 1_000)
    loss: str = choice("softmax", LOSSES)
    label_smoothing: float = number(0.0, least=0, below=1)
    class_weights: str = choice("none", CLASS_WEIGHTS)
    optimizer: str = choice(None, OPTIMIZERS)
    momentum: float = number(0.9, least=0, below=1)
    learning_rate: float = number(1e-3, above=0)
    schedule: str = choice("plateau", SCHEDULES)
    plateau_epochs: int = whole(5, 1, 1_000_000)
    warmup_steps: int = whole(0, 0)
    max_gradient_norm: float = number(0.0, least=0)
    weight_decay: float = number(5e-4, least=0)
    global_batch_size: int = whole(32, 1, 1_000_000)
    num_epochs: int = whole(10, 1, 1_000_000)
    colour_jitter: float = number(0.0, least=0, below=1)
    time_jitter: float = number(0.0, least=0, below=1)
    mixup_alpha: float = number(0.0, least=0)
    dtype_policy: str = choice("float32", DTYPE_POLICIES)
    seed: int = whole(0, 0, 2**31 - 1)

    def __post_init__(self) -> None:
        check_choice("model", self.model, MODELS)
        self._set_finetune()
        self._set_defaults()
        check_fields(self)
        self._check_model()

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _set_finetune(self) -> None:
        if self.init_from is not None:
            self._set("init_from", str(self.init_from))  # a Path is not JSON
        elif self.finetune is None:
            self._set("finetune", "scratch")
        if self.finetune is None:
            raise ConfigError(f"finetune must be given with init_from: one of {', '.join(FINETUNE_MODES)}")
        check_choice("finetune", self.finetune, FINETUNE_MODES)
        if self.init_from is None and FINETUNE_MODES[self.finetune].takes_weights:
            raise ConfigError(f"init_from must be the folder of a run for finetune={self.finetune}. Received: none")

    def _set_defaults(self) -> None:
        """Set the fields whose defaults depend on the model or the way of fine-tuning."""
        defaults = MODELS[self.model]
        if self.clip is None:
            self._set("clip", defaults.clip)
        if self.optimizer is None:
            self._set("optimizer", defaults.optimizer)
        if self.options is None and defaults.options is not None:
            self._set("options", defaults.options())
        if self.top_dropout is None:
            is_finetuned = FINETUNE_MODES[self.finetune].takes_weights
            self._set("top_dropout", FINETUNED_TOP_DROPOUT if is_finetuned else self.dropout)

    def _check_model(self) -> None:
        """Raise ConfigError for what the model cannot do, instead of ignoring it."""
        defaults = MODELS[self.model]
        check_int("cached_views", self.cached_views, *defaults.cached_views)
        if not isinstance(self.options, defaults.options or type(None)):
            expected = "None" if defaults.options is None else f"a {defaults.options.__name__}"
            raise ConfigError(f"options must be {expected} for {self.model}. Received: {self.options!r}")
        if not defaults.is_precomputed:
            return
        if self.init_from is not None:
            raise ConfigError(f"init_from must not be given for {self.model}. Received: {self.init_from!r}")
        for name in ("colour_jitter", "time_jitter", "mixup_alpha"):
            if getattr(self, name):
                raise ConfigError(
                    f"{name} must be 0 for {self.model}, whose features are computed once. "
                    f"Received: {getattr(self, name)!r}"
                )

    def model_arguments(self) -> dict[str, Any]:
        """Return the arguments of the model's builder besides its name and the number of classes."""
        first_dropout = self.dropout if FINETUNE_MODES[self.finetune].trains_hidden else 0.0
        shared = {"width": self.width, "dropout": (first_dropout, self.top_dropout)}
        if self.options is not None:
            return {**self.options.model_arguments(), **shared}
        return {
            "tower": self.tower,
            "num_frames": self.clip.num_frames,
            "crop_size_px": self.clip.crop_size_px,
            **shared,
            "lrn_beta": self.lrn_beta,
        }
