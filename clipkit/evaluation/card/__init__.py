"""A model card: what a base model can do and what it cannot, by small probes; and its origin."""
