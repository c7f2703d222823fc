"""Read the pictures in the body of an HTTP request: a form, or JSON.

The standard library has no parser for forms: `email` takes quadratic time for some headers.
"""

import base64
import json
import re
from http import HTTPStatus
from urllib.parse import unquote

MAX_IMAGES = 64
"""Images of a request."""

_MAX_PARTS = 2 * MAX_IMAGES
"""Parts of a form: its files, and fields of text."""

_MAX_HEAD = 8192
"""Bytes of the headers of a part of a form."""

_MAX_MARKS = 4 * MAX_IMAGES + 64
"""Quotes, brackets and commas of a JSON body: two quotes, two commas per image, and some more."""

_IS_FILE = re.compile(
    rb"[;\s]filename\*?\s*=|^content-type:\s*image/", re.IGNORECASE | re.MULTILINE
)
_ENCODED_FILENAME = re.compile(
    rb"[;\s]filename\*\s*=\s*(utf-8|iso-8859-1)'[^']*'([^;\s]+)", re.IGNORECASE
)
_FILENAMES = (
    re.compile(rb'[;\s]filename\s*=\s*"((?:\\"|[^"])*)"', re.IGNORECASE),  # curl writes " as \"
    re.compile(rb"[;\s]filename\s*=\s*([^;\s\"]+)", re.IGNORECASE),
)

_STANDARD_BASE64 = str.maketrans("-_", "+/", " \t\r\n")
"""From the alphabet of base64 in URLs (RFC 4648, section 5), without blanks and line ends."""

Upload = tuple[str, bytes]
"""Name and content of a picture."""


class RequestError(Exception):
    """A request that cannot be answered; the message says what is wrong and what to do."""

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.status = status


def from_json(body: bytes) -> list[Upload]:
    """Return the pictures in `{"images": ["<base64>", ...]}`; data URLs are taken too.

    Raises:
        RequestError: If the body is something else, or has no picture or too many.
    """
    wrong = RequestError(
        f'the JSON is not {{"images": ["<base64>", ...]}} with 1 to {MAX_IMAGES} images; send that',
    )
    # Millions of them would take gigabytes of memory.
    if sum(body.count(mark) for mark in (b'"', b"[", b"{", b",")) > _MAX_MARKS:
        raise wrong
    try:
        content = json.loads(body)
        texts = content["images"] if isinstance(content, dict) else None
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise wrong
    except (ValueError, KeyError, RecursionError) as error:
        raise wrong from error
    return _checked([(f"image {n}", _decode(f"image {n}", text)) for n, text in enumerate(texts)])


def from_form(boundary: str | None, body: bytes) -> list[Upload]:
    """Return the files of a form of type multipart/form-data (RFC 7578).

    A form without files may have pictures in its fields. A file without name and content comes from
    a field in which no file was chosen, and is left out.

    Raises:
        RequestError: If the form has no file or too many parts, if a part has no readable headers,
            or if the mark of its end is missing.
    """
    mark = b"\r\n--" + (boundary or "").encode("latin-1", "replace")
    # One more part is before the first mark, and one after the last.
    parts = (b"\r\n" + body).split(mark, _MAX_PARTS + 2) if boundary else []
    if len(parts) > _MAX_PARTS + 2:
        raise RequestError(f"the form has too many parts; send up to {MAX_IMAGES} files")
    if len(parts) > 1 and not parts[-1].startswith(b"--"):
        raise RequestError("the form ends without its closing mark; send it whole")
    files, fields, has_files = [], [], False
    for number, part in enumerate(parts[1:-1]):
        end = part.find(b"\r\n\r\n", 0, _MAX_HEAD)
        if end < 0:
            raise RequestError(f"part {number} of the form has no headers; send files")
        head, content = part[:end], part[end + 4 :]
        if not _IS_FILE.search(head):
            fields.append((f"image {number}", content))
            continue
        has_files = True
        name = _filename(head)
        if name or content:
            files.append((name or f"image {number}", content))
    return _checked(files if has_files else fields)


def _checked(uploads: list[Upload]) -> list[Upload]:
    if not 1 <= len(uploads) <= MAX_IMAGES:
        raise RequestError(
            f"the request has {len(uploads)} images; send 1 to {MAX_IMAGES}",
        )
    return uploads


def _decode(name: str, text: str) -> bytes:
    """Return the bytes of base64, of a data URL, and of base64 in lines or in the URL alphabet."""
    text = text.rpartition(",")[2].translate(_STANDARD_BASE64).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise RequestError(f"{name} is not base64 ({error}); encode its bytes so") from error


def _filename(head: bytes) -> str:
    """Return the name of a file in the headers of its part; without one, an empty text."""
    if found := _ENCODED_FILENAME.search(head):
        return unquote(found[2].decode("utf-8", "replace"), found[1].decode())
    for pattern in _FILENAMES:
        if found := pattern.search(head):
            return found[1].decode("utf-8", "replace").replace('\\"', '"')
    return ""
