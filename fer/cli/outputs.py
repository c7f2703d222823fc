"""Keep commands from writing over the user's own files."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from fer.core.errors import FerError


def protect_inputs(
    targets: Iterable[Path], inputs: Sequence[Path], folder: Path | None = None
) -> None:
    """Refuse targets that are inputs, by whatever name.

    If targets are in a `folder` that holds an input, or that an input folder holds, refuse those
    that exist: they may be originals too.
    """
    input_ids = _file_ids(inputs)
    is_mixed = folder is not None and bool(
        _file_ids([folder]) & _file_ids(_parents(inputs))
        or input_ids & _file_ids(_parents([folder]))
    )
    for target in targets:
        if _file_ids([target]) & input_ids or (is_mixed and os.path.lexists(target)):
            raise FerError(f"{target}: may be one of the inputs; name another place")


def _file_ids(paths: Iterable[Path]) -> set[tuple[int, int]]:
    """Return device and number of files that exist: equal for links and other cases of a name."""
    stats = [os.stat(path) for path in paths if os.path.exists(path)]
    return {(stat.st_dev, stat.st_ino) for stat in stats}


def _parents(paths: Iterable[Path]) -> set[Path]:
    """Return all folders that hold the paths, or what they link to."""
    places = [place for path in paths for place in (path.absolute(), path.resolve())]
    return {parent for place in places for parent in place.parents}
