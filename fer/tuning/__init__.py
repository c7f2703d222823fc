"""The hyperparameter search: short trials of many configurations, longer finals of the best.

A search that cannot go on is a FerError: a storage that cannot be used, configurations that all
diverge, or fewer different faces or groups than folds.
"""
