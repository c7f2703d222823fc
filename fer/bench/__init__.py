"""How fast: ways of loading faces, and ways of running a trained network.

Not here: the seconds of a training epoch, which `fer.training.fit` measures as it goes.
"""
