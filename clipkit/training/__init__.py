"""Training of the two towers: pairs of pictures and texts in, checkpoints out."""
