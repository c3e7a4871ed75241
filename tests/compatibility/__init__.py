"""Files of an earlier clipkit, opened by this one: see make_files.py."""
