"""The two towers as functions from arrays to features, on different engines."""
