"""Programs over data and training."""
