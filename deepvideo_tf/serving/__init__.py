"""Exported SavedModels behind a model server, KServe's: what it does not have itself, and no more."""
