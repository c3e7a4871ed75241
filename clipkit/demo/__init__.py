"""The page in the browser, which uses only the public names of clipkit (``clipkit demo``)."""
