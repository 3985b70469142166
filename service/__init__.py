"""The service: recognises handwritten digits and shows how, from one ONNX file and its manifest."""

__version__ = "0.1.0"
