"""Heat maps: which part of an image a text fits."""
