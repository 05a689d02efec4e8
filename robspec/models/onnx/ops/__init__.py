"""Readings of ONNX operators, one file per family; each lists what it reads as OPERATORS."""
