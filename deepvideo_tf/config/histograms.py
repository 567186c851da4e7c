"""Options of the feature-histogram baseline alone."""

from dataclasses import dataclass
from typing import Any

from deepvideo_tf.config.checks import check_fields, whole


@dataclass(frozen=True)
class HistogramConfig:
    """Options of the model `feature_histograms` alone (section 4.1).

    Args:
        words: with `feature_histograms`, words in each codebook, 1 to 100,000; 850 give 24,759 dimensions, the paper
            has 25,000.
        hidden_layers: with `feature_histograms`, number of hidden layers, 1 or 2.

    Raises:
        ConfigError: a field is outside its range.
    """

    words: int = whole(850, 1, 100_000, flag="histogram_words")
    hidden_layers: int = whole(1, 1, 2)

    def __post_init__(self) -> None:
        check_fields(self)

    def model_arguments(self) -> dict[str, Any]:
        """Return the builder's arguments that these options set."""
        return {"num_words": self.words, "hidden_layers": self.hidden_layers}
