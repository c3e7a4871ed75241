"""Metrics on plain arrays: no model, no file, no printing."""
