"""Facial emotion recognition: `Recognizer` predicts; the subpackages are the pipeline's library."""

import os

# Set before ONNX Runtime is loaded, which would otherwise store a device id and send telemetry.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__all__ = ["Recognizer", "__version__"]


def __getattr__(name: str) -> object:
    # Imported lazily: the stages need no detector, and most users no version.
    if name == "Recognizer":
        from fer.predict.recognizer import Recognizer

        return Recognizer
    if name == "__version__":
        from importlib.metadata import version

        return version("fer-pipeline")
    raise AttributeError(f"module 'fer' has no attribute {name!r}")
