"""Names in Kaggle's FER2013."""

CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
"""The classes, in the order of the labels 0 to 6."""

USAGES = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
"""Kaggle's names of the splits, and the names here."""
