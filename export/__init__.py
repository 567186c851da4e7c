"""Programs over deployment."""
