"""Training a model, its checkpoints and its metrics."""
