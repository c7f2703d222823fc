"""Old public names, which keep working for one version with a DeprecationWarning."""

import sys
import warnings
from collections.abc import Callable
from typing import Any


def warn(old: str, new: str, stacklevel: int = 3) -> None:
    """Warn that a name is deprecated.

    Args:
        old: The old name, with its module or class.
        new: The new name, with its module or class.
        stacklevel: Number of calls between the warning and the line that uses the old name.
    """
    message = f"{old} is now {new}; the old name goes with version 0.4"
    warnings.warn(message, DeprecationWarning, stacklevel=stacklevel)


def renamed(module: str, names: dict[str, str]) -> Callable[[str], Any]:
    """Return a module-level `__getattr__` (PEP 562) that finds old names under their new ones.

    Args:
        module: Name of the module.
        names: New names by old names.
    """

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warn(f"{module}.{name}", f"{module}.{names[name]}")
        return getattr(sys.modules[module], names[name])

    return find
