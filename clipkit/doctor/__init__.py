"""What could silently be wrong with a model, an index, a calibration or this machine."""
