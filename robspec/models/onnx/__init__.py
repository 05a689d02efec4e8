"""ONNX files: read as hostile, written anew as a torch.export archive, compared with onnxruntime."""
