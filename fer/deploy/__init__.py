"""From a trained network to the ONNX files that ship, in float32 and int8.

Not here: reading those files (`fer.predict`), timing them (`fer.bench`).
"""
