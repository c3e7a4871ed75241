"""Adaptation of a model to labels of one's own: heads on its embeddings, concepts, the ladder."""
