"""Networks, augmentation, data loading and the training loop, in PyTorch.

A fault in a file or parameter of the user, or a shortage of the machine, is a FerError.
`fer.deploy` exports a trained network, and `fer.predict` runs it without PyTorch.
"""
