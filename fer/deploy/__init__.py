"""Export a trained network to ONNX files in float32 and int8.

`fer.predict` reads these files, and `fer.bench` times them.
"""
