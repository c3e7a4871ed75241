"""Duplicates and near-duplicates in a folder of images."""
