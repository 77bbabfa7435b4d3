"""From trained agents to ONNX graphs, one file per framework."""
