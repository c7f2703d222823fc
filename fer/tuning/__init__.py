"""The hyperparameter search: short trials of many configurations, longer finals of the best."""
