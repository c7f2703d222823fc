"""Which packages there are; all else stands in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["fer*"]), "fer.weights"],
    package_dir={"fer.weights": "models/fer2013"},  # where the pipeline writes it
)
