"""From a file of faces to clean face sets.

Finding and reading Kaggle's CSV, drawing the built-in sample, cleaning and balancing the training
split. Not here: how batches reach the network (`fer.training.loading`).
"""
