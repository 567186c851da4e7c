"""Annotations: which videos there are, and their labels. One file per format.

To add a format, write a file with a function decorated with `register_format`, and import it here.
"""

from deepvideo_tf.data.annotations.csv_table import read_csv
from deepvideo_tf.data.annotations.find import VIDEO_SUFFIXES, find_videos, read_video_paths
from deepvideo_tf.data.annotations.folder import read_folder
from deepvideo_tf.data.annotations.lines import read_classes
from deepvideo_tf.data.annotations.source import FORMATS, OPTIONS, AnnotationFormat, AnnotationSource, register_format
from deepvideo_tf.data.annotations.splits import group_of, hold_out
from deepvideo_tf.data.annotations.sports1m import coverage, cut_validation, is_for_validation, read_sports1m
from deepvideo_tf.data.annotations.text_list import read_list
from deepvideo_tf.data.annotations.ucf101 import read_ucf101
from deepvideo_tf.data.annotations.videos import SPLITS, Annotations, LabelledVideo

__all__ = [
    "FORMATS", "OPTIONS", "SPLITS", "VIDEO_SUFFIXES", "AnnotationFormat", "AnnotationSource", "Annotations",
    "LabelledVideo", "coverage", "cut_validation", "find_videos", "group_of", "hold_out", "is_for_validation",
    "read_classes", "read_csv", "read_folder", "read_list", "read_sports1m", "read_ucf101", "read_video_paths",
    "register_format",
]  # fmt: skip
