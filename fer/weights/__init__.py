"""The released models; `python -m scripts.family release` fills this folder."""
