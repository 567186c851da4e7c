"""What an exported model carries to be usable."""

from dataclasses import dataclass

from deepvideo_tf.config.checks import check_choice, check_fields, choice
from deepvideo_tf.config.clip import ClipSpec
from deepvideo_tf.config.models import TRAINABLE_NAMES
from deepvideo_tf.config.shards import ShardSpec
from deepvideo_tf.config.train import LOSSES
from deepvideo_tf.errors import ConfigError

CARD_NAME = "model_card.json"  # inside an exported model


@dataclass(frozen=True)
class ModelCard:
    """What is needed to use a trained model. It is part of checkpoints, SavedModels, TFLite and ONNX files.

    Args:
        model: name of the model.
        classes: class names in the order of the model's outputs.
        clip: the part of a stored clip that the model takes.
        shards: how clips were made from videos; prediction makes them the same way.
        loss: the training loss: with `softmax` the probabilities are one distribution, with `sigmoid` one for each
            class.

    Raises:
        ConfigError: a field is not of its kind.
    """

    model: str
    classes: tuple[str, ...]
    clip: ClipSpec
    shards: ShardSpec
    loss: str = choice("softmax", LOSSES)

    def __post_init__(self) -> None:
        check_choice("model", self.model, TRAINABLE_NAMES)
        check_fields(self)
        if not self.classes or not all(isinstance(name, str) for name in self.classes):
            raise ConfigError(f"classes must be a list of class names. Received: {self.classes!r:.80}")
        if not isinstance(self.clip, ClipSpec) or not isinstance(self.shards, ShardSpec):
            raise ConfigError("clip and shards must describe the clips")
