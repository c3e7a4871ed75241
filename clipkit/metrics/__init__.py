"""Metrics: arrays in, numbers out, with no model and no file."""
