"""A folder of images as a map: similar images close together, in two dimensions."""
