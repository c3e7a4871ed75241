"""Contrastive training of the two towers: losses, steps, data loading, resuming."""
