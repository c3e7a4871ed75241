"""The recipe that builds and measures clipkit's starter checkpoint.

Run as ``python -m recipe COMMAND`` with ``weights/starter`` as the working directory.
"""
