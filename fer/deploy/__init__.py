"""Export a trained network to ONNX files in float32 and int8, and compare their runtimes.

A file that cannot be read, or would predict something else, is a FerError.
"""
