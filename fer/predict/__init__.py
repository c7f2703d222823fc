"""Emotions of the faces in photos and videos: the recognizer, and the command `fer`.

Needs neither PyTorch nor DVC. Not here: making the model (`fer.deploy`).
"""

import importlib.util
import warnings

if importlib.util.find_spec("fer.fer"):  # a module of the other one's
    warnings.warn(
        "PyPI's `fer` is installed over this one, as both are imported as `fer`: "
        "pip uninstall fer, then install fer-pipeline again",
        stacklevel=2,
    )
