"""The baseline's features of small shards."""

import deepvideo_tf as dv
from deepvideo_tf.baseline import cache

CLIP = dv.ClipSpec(num_frames=8, crop_size_px=32)
WORDS, VIEWS = 8, 2


def compute(shards_dir, *, num_workers=2, clip=CLIP, words=WORDS, max_bad_fraction=0.01):
    """Compute the features of the training split, or load them; return the codebooks and the vectors."""
    codebooks = cache.learn_codebooks(shards_dir, clip, words, num_workers=num_workers)
    vectors = cache.clip_vectors(
        shards_dir, "train", clip, codebooks, VIEWS, max_bad_fraction=max_bad_fraction, num_workers=num_workers
    )
    return codebooks, vectors
