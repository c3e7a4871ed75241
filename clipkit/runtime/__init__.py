"""The two towers on an engine (ONNX Runtime, torch): arrays in, image and text features out."""
