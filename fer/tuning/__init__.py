"""The search for a better recipe: short runs of many, full runs of a few."""
