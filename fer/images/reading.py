"""Read images of any kind and convert them to grey or RGB."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

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

with suppress(ImportError):  # an option: most users have no such photos
    import pillow_heif

    pillow_heif.register_heif_opener()


def load(image: Any) -> Image.Image | np.ndarray:
    """Return an image, upright by its EXIF; an array stays as it is.

    Args:
        image: A path, the bytes of a file, an open file, a PIL image or an array.

    Raises:
        FerError: If the image cannot be read, or is none of these.
    """
    image = as_array(image)
    if isinstance(image, np.ndarray):
        return image
    if isinstance(image, str | os.PathLike):
        if not os.fspath(image):  # pathlib would take it for the current folder
            raise FerError("the path of the image is empty; pass the name of a file")
        return read(Path(image))
    if isinstance(image, Image.Image):
        with _as_fer_error("image"):
            image.load()
            return _upright(image)
    if isinstance(image, bytes):
        return read(BytesIO(image), "bytes")
    if hasattr(image, "encoding"):
        raise FerError(f"{getattr(image, 'name', 'file')}: is open as text; open it in mode 'rb'")
    if hasattr(image, "read"):
        return read(image, getattr(image, "name", "file"))
    raise FerError(
        f"the image is of type {type(image).__name__}; pass a path, bytes, an open file, a PIL "
        "image or an array"
    )


def as_array(image: Any) -> Any:
    """Return the array that NumPy makes of a tensor or a Series; a path or a PIL image as it is.

    Raises:
        FerError: If NumPy cannot read it, such as a tensor on a GPU.
    """
    if isinstance(image, Image.Image | str | bytes) or not hasattr(image, "__array__"):
        return image
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
    is_text = len(name) > 1000 or name.startswith("data:")
    if is_text and isinstance(path, Path) and not os.path.exists(path):
        raise FerError(f"{name[:24]}...: is no file but a text; decode base64 to bytes")
    with _as_fer_error(name):
        if isinstance(path, Path) and path.exists() and not (path.is_file() or path.is_dir()):
            raise FerError("is no regular file; pass - to read from a pipe")
        Image.init()  # of EPS, Pillow would run Ghostscript without a limit of time
        allowed = set(formats or Image.OPEN) - {"EPS"}
        kinds = [kind for kind in Image.OPEN if kind in allowed]
        with Image.open(path, formats=kinds) as image:
            image.load()
            return _upright(image)


def _upright(image: Image.Image) -> Image.Image:
    """Return an image turned by its EXIF, if that can be read; integers are converted to 8 bits."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Pillow's errors for broken EXIF have no common class
        orientation = 1
    image = _from_integers(image)  # a turned image has lost the tags of its file
    if orientation not in range(2, 9):
        return image
    exif = Image.Exif()  # without other entries: Pillow fails if one of them is broken
    exif[ExifTags.Base.Orientation] = orientation
    plain = image.copy()
    plain.info["exif"] = exif.tobytes()
    return ImageOps.exif_transpose(plain)


@contextmanager
def _as_fer_error(name: str) -> Iterator[None]:
    try:
        yield
    except FerError as error:
        raise FerError(f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        if Path(name).suffix.lower() in HEIF:
            raise FerError(f"{name}: is a HEIC photo; pip install pillow-heif") from error
        raise FerError(f"{name}: is not an image, or of a kind that cannot be read") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise FerError(f"{name}: has more than {limit} megapixels; shrink it first") from error
    except OSError as error:
        raise FerError(f"{name}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # Pillow's errors for broken files have no common class
        raise FerError(f"{name}: is a broken image: {error}") from error


def grey(image: Image.Image | np.ndarray) -> np.ndarray:
    """Return grey pixels, uint8 [H, W], 0 black to 255 white.

    Args:
        image: A PIL image of any mode; transparent parts become white. Or an array [H, W],
            [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA): uint8 from 0 to 255, uint16 from 0 to
            65535, other integers from 0 to 255, or floats from 0 to 1 or from 0 to 255.

    Raises:
        FerError: If the array has another shape, type or range.

    Examples:
        >>> grey(np.full((1, 2, 3), 0.5)).tolist()
        [[128, 128]]
    """
    return np.asarray(_convert(image, "L"))


def color(image: Image.Image | np.ndarray) -> Image.Image:
    """Return a copy in RGB with 8 bits per channel, of an image as for `grey`."""
    return _convert(image, "RGB").copy()


def _convert(image: Image.Image | np.ndarray, mode: str) -> Image.Image:
    if isinstance(image, np.ndarray):
        image = _from_array(image)
    elif not (image.width and image.height):
        raise FerError(f"the image has {image.width} x {image.height} pixels; pass another one")
    elif image.mode == "F":
        image = Image.fromarray(_float_to_8_bits(np.asarray(image)))
    image = _from_integers(image)
    try:
        if image.has_transparency_data:
            image = image.convert("RGBA")
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image)
        return image.convert(mode)
    except (ValueError, AssertionError) as error:  # modes such as LAB, and P without a palette
        raise FerError(f"the image has mode {image.mode}; convert it to RGB or grey") from error


def _from_array(array: np.ndarray) -> Image.Image:
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    colors = array.ndim == 3 and array.shape[2] in (3, 4)
    if not (array.ndim == 2 or colors) or not array.size:
        raise FerError(
            f"the image has shape {list(array.shape)}; pass [H, W], [H, W, 3] or [H, W, 4]"
        )
    if array.dtype.kind == "f":
        array = _float_to_8_bits(array)
    elif array.dtype.kind in "iu":
        array = _integers_to_8_bits(array)
    else:
        raise FerError(f"the image is of type {array.dtype}; convert it to integers or floats")
    return Image.fromarray(np.ascontiguousarray(array))


def _from_integers(image: Image.Image) -> Image.Image:
    """Convert an image of integers of 16 or 32 bits to 8 bits; transparent pixels become white.

    JPEG 2000 and PGM of fewer bits are scaled to 16 bits by Pillow, and PNG by who writes it. TIFF
    is not. Its tags of the largest sample are not used: that may be the value of one pixel.
    """
    if not image.mode.startswith("I"):
        return image
    values, largest = np.asarray(image), 65535
    if image.format == "PPM":
        values = values.astype(np.uint16)  # from int32
    elif image.format == "TIFF":
        (bits,) = image.tag_v2[ExifTags.Base.BitsPerSample]  # type: ignore[attr-defined]
        largest = 2**bits - 1
    pixels = _integers_to_8_bits(values, largest)
    if "transparency" in image.info:
        pixels[values == image.info["transparency"]] = 255
    return Image.fromarray(pixels)


def _integers_to_8_bits(values: np.ndarray, largest: int = 65535) -> np.ndarray:
    """Scale uint16 from 0 to `largest` to uint8; other types must be from 0 to 255."""
    if values.dtype.kind == "u" and values.dtype.itemsize == 2:
        values = values.astype(np.uint32) * 255 // largest
    elif values.min() < 0 or values.max() > 255:
        raise FerError(
            f"the image has {values.dtype} outside 0 to 255; scale them, or convert them to uint16 "
            "if white is 65535"
        )
    return values.astype(np.uint8)


def _float_to_8_bits(array: np.ndarray) -> np.ndarray:
    top = array.max()
    # A largest value between 1 and 2 may be an overshoot of either range.
    if not (np.isfinite(array).all() and array.min() >= 0 and (top <= 1 or 2 <= top <= 255)):
        raise FerError("the image has floats that are not from 0 to 1 or 0 to 255; scale them")
    return np.rint(array * (255 if top <= 1 else 1)).astype(np.uint8)
