import numpy as np
import pytest

from deepvideo_tf.config import ClipSpec, ModelCard, ShardSpec
from deepvideo_tf.metrics.probabilities import probabilities


@pytest.mark.parametrize(("loss", "expected"), [("softmax", [0.25, 0.75]), ("sigmoid", [0.5, 0.75])])
def test_probabilities_are_what_the_loss_makes_of_logits(loss, expected):
    card = ModelCard("single_frame", ("a", "b"), ClipSpec(), ShardSpec(), loss)
    np.testing.assert_allclose(probabilities(card, np.array([[0.0, np.log(3)]], np.float32)), [expected], rtol=1e-6)
