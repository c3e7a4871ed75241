"""The encoder: images and texts to embeddings, and loading one by its name or from its spec."""
