"""Predict the emotions of faces in photos and videos: `Recognizer` and the command `fer`.

It needs neither PyTorch nor DVC. `fer.deploy` makes the models.
"""
