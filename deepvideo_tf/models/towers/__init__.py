"""Towers: from frames to feature maps."""
