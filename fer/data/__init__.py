"""Read a user's data set in any format, split it, clean and balance it; draw the built-in sample.

A fault in the user's files or parameters is a FerError: what is wrong, where, and what to do.
`fer.training.loading` brings the faces to the network.
"""
