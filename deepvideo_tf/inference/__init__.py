"""Predictions of a trained model: of a video, a stream, many videos."""
