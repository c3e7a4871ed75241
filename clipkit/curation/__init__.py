"""Curation of image-text pairs: caption scores, and rules for which pairs to keep."""
