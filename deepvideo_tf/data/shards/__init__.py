"""Shards: building, reading, verifying and inspecting them."""
