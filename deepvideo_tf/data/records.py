"""One stored clip as a `tf.train.SequenceExample`: the keys, writing and parsing, in one place."""

import tensorflow as tf

VIDEO_ID = "video_id"
LABELS = "labels"
CLIP_INDEX = "clip_index"
START_S = "start_s"
FRAME_RATE_FPS = "frame_rate_fps"
FRAMES = "frames"


def clip_to_record(video_id, labels, clip_index, clip, frame_rate_fps):
    """Serialises one clip.

    Args:
        video_id: path of the video below its root.
        labels: indices into the class names.
        clip_index: number of the clip within its video.
        clip: `DecodedClip` with JPEG frames.
        frame_rate_fps: frames a second of the clip.

    Returns:
        A serialised `tf.train.SequenceExample`, bytes.
    """

    def ints(values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))

    def floats(values):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    def texts(values):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))

    context = {
        VIDEO_ID: texts([video_id.encode()]),
        LABELS: ints(labels),
        CLIP_INDEX: ints([clip_index]),
        START_S: floats([clip.start_s]),
        FRAME_RATE_FPS: floats([frame_rate_fps]),
    }
    frames = tf.train.FeatureList(feature=[texts([frame]) for frame in clip.frames])
    example = tf.train.SequenceExample(
        context=tf.train.Features(feature=context),
        feature_lists=tf.train.FeatureLists(feature_list={FRAMES: frames}),
    )
    # Protocol buffers promise no order of map entries unless asked; the shards' bytes must not depend on it.
    return example.SerializeToString(deterministic=True)


def parse_record(record):
    """Parses one record, in a tf.data graph; the frames stay encoded.

    Args:
        record: scalar string tensor.

    Returns:
        Dict of `video_id` (string), `labels` (int64 `[number of labels]`), `clip_index` (int64), `start_s` and
        `frame_rate_fps` (float32), and `frames` (string `[stored frames]`, JPEG files).
    """
    context, lists = tf.io.parse_single_sequence_example(
        record,
        context_features={
            VIDEO_ID: tf.io.FixedLenFeature([], tf.string),
            LABELS: tf.io.VarLenFeature(tf.int64),
            CLIP_INDEX: tf.io.FixedLenFeature([], tf.int64),
            START_S: tf.io.FixedLenFeature([], tf.float32),
            FRAME_RATE_FPS: tf.io.FixedLenFeature([], tf.float32),
        },
        sequence_features={FRAMES: tf.io.FixedLenSequenceFeature([], tf.string)},
    )
    return context | {LABELS: tf.sparse.to_dense(context[LABELS]), FRAMES: lists[FRAMES]}
