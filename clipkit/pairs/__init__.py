"""Pairs of pictures and texts, wherever they lie: folders, tables, shards."""
