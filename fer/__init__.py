"""Facial emotion recognition: `Recognizer` for use, and the library behind the pipeline."""

__all__ = ["Recognizer"]


def __getattr__(name: str) -> object:
    # Not at import, so that the stages need no detector, nor the predictions torch.
    if name == "Recognizer":
        from fer.predict.recognizer import Recognizer

        return Recognizer
    raise AttributeError(f"module 'fer' has no attribute {name!r}")
