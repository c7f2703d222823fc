"""Emotions of the faces in photos and videos: the recognizer, and the command `fer`.

Needs neither PyTorch nor DVC. Not here: making the model (`fer.deploy`).
"""

import os

# Before ONNX Runtime is loaded, which else writes a device's id and calls home.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
