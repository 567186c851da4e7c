"""Decoding videos."""
