"""Datasets of image-text pairs: folders, class folders, tables, WebDataset shards."""
