"""Pictures that a folder has more than once."""
