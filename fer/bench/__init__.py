"""Benchmarks of data loaders and of runtimes for a trained network.

`fer.training.fit` measures the seconds of training epochs itself.
"""
