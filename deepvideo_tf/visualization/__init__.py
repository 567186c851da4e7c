"""Figures, and the figures of a run."""
