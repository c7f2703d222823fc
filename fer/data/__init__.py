"""From a data set as the user has it to clean face sets.

Reading it in any of its formats, cutting missing splits, cleaning and balancing the training split,
drawing the built-in sample. Not here: how batches reach the network (`fer.training.loading`).
"""
