"""Predict the emotions of faces in photos and videos: `Recognizer` and the command `fer`.

It needs neither PyTorch nor DVC. `fer.deploy` makes the models.
"""

import importlib.util
import warnings

if importlib.util.find_spec("fer.fer"):  # a module of PyPI's fer
    warnings.warn(
        "PyPI's `fer` is installed over fer-pipeline, because both are imported as `fer`; "
        "pip uninstall fer, then install fer-pipeline again",
        stacklevel=2,
    )
