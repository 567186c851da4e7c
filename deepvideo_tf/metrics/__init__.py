"""Hit@k, average precision and their bootstrap intervals."""


def training_metrics():
    from deepvideo_tf.metrics.hit_at_k import HitAtK

    return [HitAtK(1)]
