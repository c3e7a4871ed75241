"""The image and text towers on different engines (torch, ONNX Runtime): arrays in, features out."""
