"""Predict over HTTP."""
