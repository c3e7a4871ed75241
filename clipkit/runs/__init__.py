"""Training runs: from a config to a directory with a model, metrics and a report."""
