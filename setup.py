"""The packages; pyproject.toml has all other settings."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["fer*"]), "fer.weights"],
    package_dir={"fer.weights": "models/fer2013"},  # where the pipeline writes the models
)
