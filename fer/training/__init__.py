"""Everything that trains a network and scores it, in PyTorch.

Networks, augmentation, the training loop. Not here: running a network without PyTorch (`fer.deploy`
writes it, `fer.predict` uses it).
"""
