"""Pictures and texts to unit vectors: the protocol, the ONNX graphs and the torch towers."""
