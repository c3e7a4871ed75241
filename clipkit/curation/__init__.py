"""Pairs worth training on: how well texts fit their pictures, and which pairs to leave out."""
