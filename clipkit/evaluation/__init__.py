"""Evaluation of a model on labelled images and on image-text pairs."""
