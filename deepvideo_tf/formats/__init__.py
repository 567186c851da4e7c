"""The formats of trained models: each one exports and loads."""
