"""Networks, augmentation, data loading and the training loop, in PyTorch.

`fer.deploy` exports a trained network, and `fer.predict` runs it without PyTorch.
"""
