"""A folder's pictures, found by words or by another picture."""
