"""Facial emotion recognition: the library behind the pipeline."""
