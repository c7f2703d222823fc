"""Facial emotion recognition: `Recognizer` for use, and the library behind the pipeline."""

import os

# Before ONNX Runtime is loaded, which else writes a device's id and calls home.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__all__ = ["Recognizer", "__version__"]


def __getattr__(name: str) -> object:
    # Not at import, so that the stages need no detector, nor the predictions torch.
    if name == "Recognizer":
        from fer.predict.recognizer import Recognizer

        return Recognizer
    if name == "__version__":
        from importlib.metadata import version

        return version("fer-pipeline")
    raise AttributeError(f"module 'fer' has no attribute {name!r}")
