"""The encoder: images and texts in, embeddings out; and loading one by its name."""
