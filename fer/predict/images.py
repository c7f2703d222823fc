"""Any image to grey pixels."""

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fer.errors import FerError

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
"""What is taken for an image in a folder."""


def load(image: Any) -> Image.Image | np.ndarray:
    """The image that a path, the content of a file or an open file has; or `image` as it is.

    Upright by its EXIF. Raises FerError where it is neither, nor a PIL image or an array, or cannot
    be read.
    """
    if isinstance(image, np.ndarray):
        return image
    if isinstance(image, Image.Image):
        with _told("image"):
            return ImageOps.exif_transpose(image)
    if isinstance(image, str | os.PathLike):
        return read(Path(image))
    if isinstance(image, bytes):
        return read(BytesIO(image), "bytes")
    if hasattr(image, "read"):
        return read(image, getattr(image, "name", "file"))
    raise FerError(
        "an image is a path, bytes, an open file, a PIL image or an array, "
        f"not {type(image).__name__}"
    )


def read(path: Path | BinaryIO, name: str | None = None) -> Image.Image:
    """The image in a file, upright (by its EXIF), its first frame where there are several.

    path: of a regular file, as another may keep one waiting; or an open file of bytes
    name: what errors call it; its path by default

    Raises FerError where it cannot be read, or is not an image.
    """
    name = name or str(path)
    if isinstance(path, Path) and _is_special(path):
        raise FerError(f"{name}: is no regular file; what comes from a pipe is given as -")
    with _told(name), Image.open(path) as image:
        image.load()
        ImageOps.exif_transpose(image, in_place=True)  # without it, each image would be copied
        return image


_BROKEN = (SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, struct.error)
"""What Pillow raises for broken files, and for broken EXIF in them."""


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Pillow's errors in a line."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise FerError(f"{name}: is not an image, or of a kind that cannot be read") from error
    except Image.DecompressionBombError as error:
        raise FerError(f"{name}: is too large: {error}") from error
    except OSError as error:
        raise FerError(f"{name}: cannot be read: {error.strerror or error}") from error
    except _BROKEN as error:
        raise FerError(f"{name}: is a broken image: {error}") from error


def grey(image: Image.Image | np.ndarray) -> np.ndarray:
    """Grey pixels uint8 [H, W], 0 black to 255 white.

    image: of any mode, transparent parts on white; or an array [H, W] or [H, W, 1, 3 or 4] (RGB,
        RGBA), 0 to 255 (uint8), 0 to 1 (float) or uint16, which is taken for 8, 10, 12, 14 or 16
        bits, by its largest value

    Raises FerError for another array.
    """
    return np.asarray(_convert(image, "L"))


def color(image: Image.Image | np.ndarray) -> Image.Image:
    """A copy in RGB with 8 bits, as people see it; of what `grey` takes."""
    return _convert(image, "RGB").copy()


def _convert(image: Image.Image | np.ndarray, mode: str) -> Image.Image:
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    elif image.mode.startswith("I"):  # more than 8 bits, which Pillow would cut off at 255
        image = _from_deep(image)
    elif image.mode == "F":
        image = Image.fromarray(_from_float(np.asarray(image)))
    try:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return image.convert(mode)
    except ValueError as error:  # such as LAB
        raise FerError(f"an image of mode {image.mode} cannot be made grey") from error


def _is_special(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # which opening it says better
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    colors = array.ndim == 3 and array.shape[2] in (3, 4)
    if not (array.ndim == 2 or colors) or not array.size:
        raise FerError(f"an image is [H, W], [H, W, 3] or [H, W, 4], not {list(array.shape)}")
    if array.dtype.kind == "u" and array.itemsize == 2:  # in either order of bytes
        array = _to_8_bits(array)
    elif array.dtype.kind == "f":
        array = _from_float(array)
    elif array.dtype != np.uint8:
        raise FerError(f"an image is uint8, uint16 or float, not {array.dtype}")
    return Image.fromarray(np.ascontiguousarray(array))


def _from_deep(image: Image.Image) -> Image.Image:
    """An image of integers of more than 8 bits, what is transparent in white."""
    values = np.asarray(image)
    pixels = _to_8_bits(values)
    if "transparency" in image.info:
        pixels[values == image.info["transparency"]] = 255
    return Image.fromarray(pixels)


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """Integers of 8, 10, 12, ... bits, as many as the largest needs, as uint8."""
    values = values.astype(np.int64).clip(0)
    bits = max(8, int(values.max()).bit_length())
    return (values * 255 // (2 ** (bits + bits % 2) - 1)).astype(np.uint8)


def _from_float(array: np.ndarray) -> np.ndarray:
    if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
        raise FerError("an image of floats has values from 0 to 1")
    return np.rint(array * 255).astype(np.uint8)
