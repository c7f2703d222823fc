"""Scores on the test split, figures, headline numbers and the HTML report."""
