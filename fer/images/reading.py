"""Read images of any kind and convert them to grey or RGB."""

import contextlib
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from fer.core.errors import FerError

WRITABLE = {
    *(".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"),
    *(".ppm", ".tga", ".tif", ".tiff", ".webp"),
}
"""Suffixes of the images that can be written."""

HEIF = {".heic", ".heif"}
"""Suffixes of photos of newer phones, which need the package pillow-heif."""

SUFFIXES = WRITABLE | HEIF
"""Suffixes of the images in a folder."""

with contextlib.suppress(ImportError):  # an option: most users have no such photos
    import pillow_heif

    pillow_heif.register_heif_opener()


def load(image: Any) -> Image.Image | np.ndarray:
    """Return an image, upright by its EXIF; an array stays as it is.

    Args:
        image: A path, the bytes of a file, an open file, a PIL image or an array.

    Raises:
        FerError: If the image cannot be read, or is none of these.
    """
    if isinstance(image, np.ndarray):
        return image
    if isinstance(image, str | os.PathLike):
        return read(Path(image))
    if isinstance(image, Image.Image):
        with _as_fer_error("image"):
            image.load()
            return _upright(image)
    if isinstance(image, bytes):
        return read(BytesIO(image), "bytes")
    if hasattr(image, "read"):
        return read(image, getattr(image, "name", "file"))
    if is_like_array(image):
        return to_array(image)
    raise FerError(
        f"the image is of type {type(image).__name__}; pass a path, bytes, an open file, a PIL "
        "image or an array"
    )


def is_like_array(image: Any) -> bool:
    """Tell whether NumPy makes an array of an object, such as a tensor or a Series of pandas.

    Args:
        image: Any object.
    """
    others = np.ndarray | Image.Image | str | bytes | os.PathLike
    return not isinstance(image, others) and hasattr(image, "__array__")


def to_array(image: Any) -> np.ndarray:
    """Return the array that NumPy makes of an object.

    Args:
        image: A tensor or a Series of pandas, for example.

    Raises:
        FerError: If NumPy cannot read it, such as a tensor on a GPU.
    """
    try:
        return np.asarray(image)
    except (TypeError, RuntimeError, ValueError) as error:
        kind = type(image).__name__
        raise FerError(f"the image is a {kind} that NumPy cannot read; convert it") from error


def read(
    path: Path | BinaryIO, name: str | None = None, formats: Sequence[str] | None = None
) -> Image.Image:
    """Read the image in a file, upright by its EXIF; of several frames, the first.

    Args:
        path: A regular file, or an open file of bytes.
        name: Name of the image in errors; the path by default.
        formats: Names of Pillow's formats that are read; all but EPS by default.

    Raises:
        FerError: If the file cannot be read or is not an image.
    """
    name = name or str(path)
    if isinstance(path, Path) and _is_special(path):
        raise FerError(f"{name}: is no regular file; pass - to read from a pipe")
    kinds = [kind for kind in _formats() if formats is None or kind in formats]
    with _as_fer_error(name), Image.open(path, formats=kinds) as image:
        image.load()
        return _upright(image)


@cache
def _formats() -> tuple[str, ...]:
    """Return Pillow's formats except EPS, which runs Ghostscript without a limit of time."""
    Image.init()
    return tuple(name for name in Image.OPEN if name != "EPS")


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""How to turn an image upright, by its orientation in EXIF."""

_BROKEN_IMAGE_ERRORS = (
    *(SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, struct.error),
    *(RuntimeError, AssertionError, AttributeError),
)
"""What Pillow raises for broken files, and for broken EXIF in them."""


def _upright(image: Image.Image) -> Image.Image:
    """Return an image turned by its EXIF; if its orientation cannot be read, as it is.

    `ImageOps.exif_transpose` would write the EXIF anew, which fails if another entry is broken.
    """
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (OSError, *_BROKEN_IMAGE_ERRORS):
        return image
    if turn is None:
        return image
    turned = image.transpose(turn)
    for name in ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"):
        turned.info.pop(name, None)  # they would turn it again
    return turned


@contextmanager
def _as_fer_error(name: str) -> Iterator[None]:
    """Turn Pillow's errors into a FerError of one line."""
    try:
        yield
    except UnidentifiedImageError as error:
        if Path(name).suffix.lower() in HEIF:
            raise FerError(f"{name}: is a HEIC photo; pip install pillow-heif") from error
        raise FerError(f"{name}: is not an image, or of a kind that cannot be read") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise FerError(f"{name}: has more than {limit} megapixels; shrink it first") from error
    except OSError as error:
        raise FerError(f"{name}: cannot be read: {error.strerror or error}") from error
    except _BROKEN_IMAGE_ERRORS as error:
        raise FerError(f"{name}: is a broken image: {error}") from error


def grey(image: Image.Image | np.ndarray) -> np.ndarray:
    """Return grey pixels, uint8 [H, W], 0 black to 255 white.

    Args:
        image: A PIL image of any mode; transparent parts become white. Or an array [H, W],
            [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA): integers of 8, 10, 12, 14 or 16 bits, as
            many as the largest value needs, or floats from 0 to 1 or from 0 to 255.

    Raises:
        FerError: If the array has another shape, type or range.

    Examples:
        >>> grey(np.full((1, 2, 3), 0.5)).tolist()
        [[128, 128]]
    """
    return np.asarray(_convert(image, "L"))


def color(image: Image.Image | np.ndarray) -> Image.Image:
    """Return a copy in RGB with 8 bits per channel.

    Args:
        image: As for `grey`.

    Raises:
        FerError: If an array has another shape, type or range.
    """
    return _convert(image, "RGB").copy()


def _convert(image: Image.Image | np.ndarray, mode: str) -> Image.Image:
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    elif not (image.width and image.height):
        raise FerError(f"the image has {image.width} x {image.height} pixels; pass another one")
    elif image.mode.startswith("I"):  # more than 8 bits, which Pillow would clip at 255
        image = _from_integers(image)
    elif image.mode == "F":
        image = Image.fromarray(_from_float(np.asarray(image)))
    try:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return image.convert(mode)
    except (ValueError, AssertionError) as error:  # modes such as LAB, and P without a palette
        raise FerError(f"the image has mode {image.mode}; convert it to RGB or grey") from error


def _is_special(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # opening the file gives a better error
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    colors = array.ndim == 3 and array.shape[2] in (3, 4)
    if not (array.ndim == 2 or colors) or not array.size:
        raise FerError(
            f"the image has shape {list(array.shape)}; pass [H, W], [H, W, 3] or [H, W, 4]"
        )
    if array.dtype.kind == "f":
        array = _from_float(array)
    elif array.dtype.kind not in "iu":
        raise FerError(f"the image is of type {array.dtype}; convert it to integers or floats")
    elif array.dtype != np.uint8:
        if array.min() < 0 or array.max() >= 1 << 16:
            raise FerError("the image has integers outside 0 to 65535; scale them")
        array = _to_8_bits(array)
    return Image.fromarray(np.ascontiguousarray(array))


def _from_integers(image: Image.Image) -> Image.Image:
    """Convert an image with more than 8 bits to 8 bits; transparent pixels become white."""
    values = np.asarray(image)
    pixels = _to_8_bits(values)
    if "transparency" in image.info:
        pixels[values == image.info["transparency"]] = 255
    return Image.fromarray(pixels)


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    """Scale integers to uint8; the largest value decides whether they have 8, 10, 12, ... bits."""
    values = values.astype(np.int64).clip(0)
    bits = max(8, int(values.max()).bit_length())
    return (values * 255 // (2 ** (bits + bits % 2) - 1)).astype(np.uint8)


def _from_float(array: np.ndarray) -> np.ndarray:
    top = array.max()
    # A largest value between 1 and 2 may be an overshoot of either range.
    if not (np.isfinite(array).all() and array.min() >= 0 and (top <= 1 or 2 <= top <= 255)):
        raise FerError("the image has floats that are not from 0 to 1 or 0 to 255; scale them")
    return np.rint(array * (255 if top <= 1 else 1)).astype(np.uint8)
