"""The HTTP service around model_core."""
