"""What a clip is, what shards hold and what a run is: frozen dataclasses, validated, to and from JSON."""

from deepvideo_tf.config.run import *  # noqa: F403
