"""Trained models as SavedModels, TFLite and ONNX files: raw pixels in, probabilities out, class names inside."""
