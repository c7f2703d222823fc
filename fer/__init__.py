"""Facial emotion recognition: `Recognizer` predicts; the subpackages are the pipeline's library."""

import os

from fer.core import __version__

# Set before ONNX Runtime is loaded, which would otherwise store a device id and send telemetry.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__all__ = ["Recognizer", "__version__"]


def __getattr__(name: str) -> object:
    # Imported lazily, because the stages need no detector.
    if name == "Recognizer":
        from fer.predict.recognizer import Recognizer

        return Recognizer
    raise AttributeError(f"module 'fer' has no attribute {name!r}")
