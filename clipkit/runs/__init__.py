"""Training runs from a config to a directory: what ties training to evaluation."""
