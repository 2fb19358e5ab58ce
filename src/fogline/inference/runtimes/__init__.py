"""What runs a model: ONNX Runtime, plain numpy, PyTorch."""
