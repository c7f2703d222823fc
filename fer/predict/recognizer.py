"""Emotions of the faces in images, by an ONNX model; needs no torch."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast, overload

import numpy as np
import onnxruntime as ort
from PIL import Image

from fer.errors import FerError
from fer.faces import FACE_SIZE
from fer.files import read_sealed
from fer.predict import images
from fer.predict.detection import Box, Detector, cut, middle
from fer.predict.threads import cores, in_order

_SHIPPED = {"int8": "fer.int8.onnx", "float32": "fer.onnx"}

_SHARE = 16
"""Faces in a call: with 128, what lies between the layers does not fit the caches."""

_LARGEST = 30_000
"""Pixels of a box's side: what is cut out has to fit the memory."""

SMALL = 24
"""Pixels of a face's side under which a warning is due: of FER2013's PublicTest, brought to so many
pixels and back, 57.7 % are right, of 32 pixels 64.5 %, of all 48 67.3 %; below, it falls fast."""

AnyImage = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray
"""A path, the content of a file, an open one, or pixels."""


@dataclass(frozen=True)
class Face:
    """A face that was found; the same when box, emotion, probabilities and id are.

    box: left, top, right, bottom in pixels of the upright image; it may reach beyond its edge
    emotion: the one of the highest probability
    probabilities: of each emotion, 0 to 1, 1 in all
    pixels: what the model saw, uint8 [48, 48]
    maps: where it saw each emotion, float32 [C, h, w], a mean over the face and its mirror image;
        without the latter, their means are the logits
    id: in a video, the same for one face from frame to frame
    """

    box: Box
    emotion: str
    probabilities: dict[str, float] = field(hash=False)
    pixels: np.ndarray = field(compare=False, repr=False)
    maps: np.ndarray = field(compare=False, repr=False)
    id: int | None = None


class Recognizer:
    """Finds faces and tells their emotions.

    model: "int8" or "float32", which come with us (MODEL_CARD.md compares them), or the path of an
        ONNX file that the stage `quantize` wrote
    threads: among which many images or faces are shared; one for each core by default
    flip: average over each face and its mirror image, which takes twice as long and is right more
        often
    detector: takes uint8 [H, W] and gives boxes (left, top, right, bottom), squares with the margin
        of FER2013's faces; `fer.predict.detection.Detector` by default

    Its `path` is the file, and its `about` what that says of itself: the data set, the scores, ...
    Threads may share it, and so may processes, by fork or by pickle.
    Raises FerError where the file is not such a model, or threads are less than one.
    """

    def __init__(
        self,
        model: str | Path = "int8",
        threads: int | None = None,
        *,
        flip: bool = True,
        detector: Callable[[np.ndarray], Sequence[Box]] | None = None,
    ) -> None:
        if threads is not None and threads < 1:
            raise FerError(f"threads is {threads}: at least 1, or None for one on each core")
        self.path = _shipped(_SHIPPED[model]) if model in _SHIPPED else Path(model)
        if not os.path.isfile(self.path):
            raise FerError(f"{self.path}: no model here; take int8, float32 or an ONNX file of fer")
        content = read_sealed(self.path)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # several calls at a time make better use of the cores
        options.log_severity_level = 4  # what goes wrong is told by the exception
        try:
            self.session = ort.InferenceSession(content, options, ["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise FerError(f"{self.path}: is not a model that ONNX Runtime can read") from error
        try:
            metadata = self.session.get_modelmeta().custom_metadata_map
            about = {key: json.loads(value) for key, value in metadata.items()}
        except ValueError as error:
            raise FerError(f"{self.path}: is a model, but its metadata are not ours") from error
        inputs = [(i.name, i.type, i.shape[1:]) for i in self.session.get_inputs()]
        outputs = {output.name for output in self.session.get_outputs()}
        if (
            inputs != [("faces", "tensor(uint8)", [FACE_SIZE] * 2)]
            or not {"probabilities", "maps"} <= outputs
            or "classes" not in about
        ):
            raise FerError(f"{self.path}: is a model, but does not take faces as those of fer do")
        self.flip, self.threads = flip, threads or cores()
        self.about: dict[str, Any] = about
        self.classes: list[str] = self.about["classes"]
        self._given = detector
        self.detector = detector or Detector()

    def __reduce__(self) -> tuple[Any, ...]:
        again = partial(Recognizer, self.path, self.threads, flip=self.flip, detector=self._given)
        return again, ()

    @overload
    def predict(
        self,
        image: str | os.PathLike[str] | bytes | BinaryIO | Image.Image,
        *,
        face: bool = False,
        boxes: Sequence[Box] | None = None,
    ) -> list[Face]: ...

    @overload
    def predict(
        self, image: list[Any] | tuple[Any, ...] | Iterator[Any], *, face: bool = False
    ) -> list[list[Face]]: ...

    @overload
    def predict(
        self, image: np.ndarray, *, face: bool = False, boxes: Sequence[Box] | None = None
    ) -> list[Face] | list[list[Face]]: ...

    def predict(
        self,
        image: AnyImage | Iterable[AnyImage],
        *,
        face: bool = False,
        boxes: Sequence[Box] | None = None,
    ) -> list[Face] | list[list[Face]]:
        """The faces in an image, from left to right; of several images, a list for each.

        >>> Recognizer().predict(["one.jpg", "two.jpg"])

        image: a path, the bytes of a file, an open one, a PIL image or an array as
            `fer.predict.images.grey` takes it; or a list or an iterator of such, or an array
            [N, H, W] or [N, H, W, 3]; of three grey images, a list, as [3, H, W] might be one image
            in another order
        face: the image is a face already, with the margin of FER2013's: no search for faces; the
            square in its middle is looked at
        boxes: where the faces of one image are, left, top, right, bottom in pixels: no search, a
            face for each in this order

        Raises FerError where an image cannot be read, or is of another type, or a box is empty or
        huge.
        """
        if boxes is not None:
            if face or _is_batch(image):
                raise FerError("boxes are of one image, in which face=True has no say")
            return self.in_boxes(images.grey(images.load(cast(AnyImage, image))), boxes)
        if not _is_batch(image):
            return self._tell([self._cut(cast(AnyImage, image), face)])[0]
        several = cast(Iterable[AnyImage], image)
        return self._tell(list(in_order(lambda one: self._cut(one, face), several, self.threads)))

    def in_boxes(self, pixels: np.ndarray, boxes: Iterable[Box]) -> list[Face]:
        """The faces in `boxes` of uint8 [H, W], in their order."""
        return self._tell([[(box, cut(pixels, box)) for box in map(_checked, boxes)]])[0]

    def classify(self, faces: np.ndarray) -> np.ndarray:
        """Probabilities float32 [N, C] of faces uint8 [N, 48, 48]. Raises FerError for others."""
        faces = np.asarray(faces)
        if faces.dtype != np.uint8 or faces.shape[1:] != (FACE_SIZE, FACE_SIZE):
            raise FerError(f"faces are uint8 [N, 48, 48], not {faces.dtype} {list(faces.shape)}")
        return self._run(["probabilities"], faces)[0]

    def _run(self, outputs: list[str], faces: np.ndarray) -> list[np.ndarray]:
        """The outputs for faces uint8 [N, 48, 48], of the mirror images too where that is on."""
        if not self.flip:
            return self._run_once(outputs, np.ascontiguousarray(faces))
        both = self._run_once(outputs, np.concatenate([faces, faces[..., ::-1]]))
        halves = [(part[: len(faces)], part[len(faces) :]) for part in both]
        # A map is of places in the face, and is mirrored back.
        return [(a + (b[..., ::-1] if b.ndim == 4 else b)) / 2 for a, b in halves]

    def _run_once(self, outputs: list[str], faces: np.ndarray) -> list[np.ndarray]:
        if len(faces) <= _SHARE:
            return self.session.run(outputs, {"faces": faces})
        shares = [faces[start : start + _SHARE] for start in range(0, len(faces), _SHARE)]
        run = partial(self.session.run, outputs)
        found = list(in_order(lambda one: run({"faces": one}), shares, self.threads))
        return [np.concatenate(values) for values in zip(*found, strict=True)]

    def _tell(self, cut_out: list[list[tuple[Box, np.ndarray]]]) -> list[list[Face]]:
        crops = [crop for found in cut_out for _, crop in found]
        if not crops:
            return [[] for _ in cut_out]
        results = zip(*self._run(["probabilities", "maps"], np.stack(crops)), strict=True)
        return [[self._face(box, crop, *next(results)) for box, crop in found] for found in cut_out]

    def _cut(self, image: AnyImage, face: bool) -> list[tuple[Box, np.ndarray]]:
        """Boxes of the faces, and the faces uint8 [48, 48]."""
        pixels = images.grey(images.load(image))
        boxes = [middle(pixels)] if face else map(_checked, self.detector(pixels))
        return [(box, cut(pixels, box)) for box in boxes]

    def _face(
        self, box: Box, pixels: np.ndarray, probabilities: np.ndarray, maps: np.ndarray
    ) -> Face:
        emotion = self.classes[int(probabilities.argmax())]
        named = dict(zip(self.classes, probabilities.tolist(), strict=True))
        return Face(box, emotion, named, pixels, maps)


def _is_batch(image: AnyImage | Iterable[AnyImage]) -> bool:
    if isinstance(image, np.ndarray):
        return image.ndim == 4 or (image.ndim == 3 and image.shape[2] > 4 and image.shape[0] != 3)
    return isinstance(image, list | tuple | Iterator) and not hasattr(image, "read")


def _checked(box: Sequence[int]) -> Box:
    try:
        left, top, right, bottom = map(int, box)
    except (TypeError, ValueError, OverflowError) as error:
        raise FerError(f"a box is left, top, right, bottom in pixels, not {box}") from error
    if left >= right or top >= bottom:
        raise FerError(f"the box {left}, {top}, {right}, {bottom} is empty")
    if max(right - left, bottom - top) > _LARGEST:
        raise FerError(
            f"the box {left}, {top}, {right}, {bottom} has over {_LARGEST} pixels a side"
        )
    return left, top, right, bottom


def _shipped(name: str) -> Path:
    """A model of FER2013: in an installed package beside the code, or in a checkout."""
    here = Path(__file__).parents[1]
    installed = here / "weights" / name
    return installed if installed.exists() else here.parent / "models" / "fer2013" / name
