"""The demo in the browser, which uses only the public names of clipkit."""
