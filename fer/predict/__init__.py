"""Emotions of the faces in photos and videos: the recognizer, and the command `fer`.

Needs neither PyTorch nor DVC. Not here: making the model (`fer.deploy`).
"""
