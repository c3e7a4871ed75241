"""Embedding of large collections into files, in one process or with many workers."""
