"""Vector stores: where an index keeps its embeddings and records."""
