"""Read a user's data set in any format, split it, clean and balance it; draw the built-in sample.

`fer.training.loading` brings the faces to the network.
"""
