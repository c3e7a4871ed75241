"""The demo in the browser, on clipkit's public names only."""
