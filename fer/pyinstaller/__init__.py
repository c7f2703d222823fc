"""A hook for PyInstaller, so that a built program has the networks in it."""

from pathlib import Path


def hook_dirs() -> list[str]:
    """Return the folder of the hook; pyproject.toml names this function to PyInstaller."""
    return [str(Path(__file__).parent)]
