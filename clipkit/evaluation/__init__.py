"""How good a model is: metrics on arrays, and what they say of a model on pairs and classes."""
