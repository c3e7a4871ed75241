"""Image search: a folder's index, queries, ranking, relevance and duplicates."""
