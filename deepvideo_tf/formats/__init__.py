"""Trained models in every format: exporting, loading, and comparing with the run.

A new format is one module with a `FORMAT` (`base.Format`), which imports without TensorFlow and Keras, and one line in
`FORMATS`.
"""

FORMATS = {
    "run": "deepvideo_tf.formats.run",
    "saved_model": "deepvideo_tf.formats.saved_model",
    "tflite": "deepvideo_tf.formats.tflite",
    "onnx": "deepvideo_tf.formats.onnx",
}
