"""Predict the emotions of the faces in images, with an ONNX model."""

import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast, overload

import numpy as np
import onnxruntime as ort
from PIL import Image

from fer.core.errors import FerError
from fer.core.faces import FACE_SIZE
from fer.core.machine import cores
from fer.core.threads import map_in_order
from fer.images import reading
from fer.images.detection import Box, Detector, center_square, crop_face

RELEASED = ("nano", "small", "base", "large")
"""Names of the released models, from the fastest to the most accurate."""

_WEIGHTS = Path(__file__).parents[1] / "weights"

_BATCH_SIZE = 16
"""Faces per call: the activations of 128 faces would not fit the caches."""

_MAX_BOX_SIDE = 30_000
"""Largest side of a box in pixels, so that a crop fits the memory."""

SMALL_FACE = 24
"""Side of a face in pixels below which the prediction is a guess; docs/detection.md measures it."""

AnyImage = str | os.PathLike[str] | bytes | BinaryIO | Image.Image | np.ndarray
"""A path, the content of a file, an open file, a PIL image or an array of pixels."""

_Crop = tuple[Box, float | None, np.ndarray]
"""Box of a face, score of its detection, and its pixels, uint8 [48, 48]."""


@dataclass(frozen=True)
class Face:
    """A face and its emotion. Faces are equal if box, emotion, probabilities and id are.

    Attributes:
        box: Left, top, right, bottom in pixels of the upright image; may reach beyond its edge.
        emotion: The class with the highest probability.
        probabilities: Probability by class, 0 to 1; they sum to 1.
        pixels: Input of the model, uint8 [48, 48].
        maps: Class activation maps, float32 [C, h, w], averaged like the probabilities. Without
            averaging, their means are the logits.
        id: In a video, the number of the face, which stays from frame to frame; otherwise None.
        score: Score of the detection, 0 to 1; None without one, as of a detector of one's own.
    """

    box: Box
    emotion: str
    probabilities: dict[str, float] = field(hash=False)
    pixels: np.ndarray = field(compare=False, repr=False)
    maps: np.ndarray = field(compare=False, repr=False)
    id: int | None = None
    score: float | None = field(default=None, compare=False)


class Recognizer:
    """Find the faces in images and predict their emotions.

    Threads may share a recognizer, and so may processes, by fork or pickle.

    Args:
        model: "nano", "small", "base" or "large", the released models from the fastest to the most
            accurate (MODEL_CARD.md compares them); or the path of an ONNX file from stage
            `quantize`.
        threads: Number of threads for several images or faces; one per core by default.
        flip: Whether to average over each face and its mirror image, which takes twice the time
            and is more accurate.
        detector: Function from uint8 [H, W] to boxes (left, top, right, bottom), squares with the
            margin of FER2013's faces. The default is `fer.images.detection.Detector`.
        providers: Execution providers of ONNX Runtime in order of preference, for the model and the
            default detector, such as "CUDAExecutionProvider" of the package onnxruntime-gpu.
        min_face: Side in pixels from which the default detector searches faces in large images; a
            larger value takes less time.
        min_score: Score, 0 to 1, from which a detection of the default detector counts as a face.
        precision: Of a released model: "int8", or "float32", in which only nano is released.

    Attributes:
        path: The model file.
        metadata: Its metadata: data set, scores, warning, classes and more.
        classes: Names of the classes, in the order of the probabilities.

    Raises:
        FerError: If the file is no such model, `threads` is below 1, or ONNX Runtime lacks a
            provider.

    Examples:
        >>> recognizer = Recognizer("nano", threads=1)
        >>> recognizer.classes
        ['Angry', 'Disgust', 'Fear', 'Happy', 'Sad', 'Surprise', 'Neutral']
    """

    def __init__(
        self,
        model: str | Path = "nano",
        threads: int | None = None,
        *,
        flip: bool = True,
        detector: Callable[[np.ndarray], Sequence[Box]] | None = None,
        providers: Sequence[str] = ("CPUExecutionProvider",),
        min_face: int = 48,
        min_score: float = 0.6,
        precision: Literal["int8", "float32"] = "int8",
    ) -> None:
        if threads is not None and threads < 1:
            raise FerError(f"threads is {threads}: use at least 1, or None for one per core")
        if not isinstance(model, str | os.PathLike):
            raise FerError(f"model is of type {type(model).__name__}; pass a name or a path")
        if precision not in ("int8", "float32"):
            raise FerError(f"precision is {precision!r}; use 'int8' or 'float32'")
        is_released = model in RELEASED
        self.path = _WEIGHTS / f"{model}.{precision}.onnx" if is_released else Path(model)
        if not os.path.isfile(self.path):
            names = ", ".join(RELEASED)
            raise FerError(
                f"{self.path}: no model here; use {names} (only nano in float32) or an ONNX file "
                "of fer"
            )
        available = ort.get_available_providers()
        for provider in providers:
            if provider not in available:
                raise FerError(
                    f"providers: this ONNX Runtime has no {provider}; use {', '.join(available)}"
                )
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise FerError(f"{self.path}: cannot be read: {error.strerror}") from error
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1  # parallel calls make better use of the cores
        options.log_severity_level = 4  # exceptions say the same
        try:
            self.session = ort.InferenceSession(content, options, list(providers))
        except Exception as error:  # ONNX Runtime's errors have no common class
            raise FerError(
                f"{self.path}: is not a model that ONNX Runtime can read; use an ONNX file of fer"
            ) from error
        if list(providers)[:1] != self.session.get_providers()[:1]:  # ONNX Runtime falls back
            raise FerError(
                f"providers: {providers[0]} cannot be loaded here; install what it needs, or use "
                "CPUExecutionProvider"
            )
        try:
            entries = self.session.get_modelmeta().custom_metadata_map
            metadata = {key: json.loads(value) for key, value in entries.items()}
        except ValueError as error:
            raise FerError(
                f"{self.path}: has metadata of another program; use an ONNX file of fer"
            ) from error
        inputs = [(i.name, i.type, i.shape[1:]) for i in self.session.get_inputs()]
        outputs = {output.name for output in self.session.get_outputs()}
        if (
            inputs != [("faces", "tensor(uint8)", [FACE_SIZE] * 2)]
            or not {"probabilities", "maps"} <= outputs
            or "classes" not in metadata
        ):
            raise FerError(
                f"{self.path}: its inputs, outputs or metadata are not those of fer; use an ONNX "
                "file of fer"
            )
        self.flip, self.threads = flip, threads or cores()
        self.metadata: dict[str, Any] = metadata
        self.classes: list[str] = metadata["classes"]
        self.providers, self._custom_detector = tuple(providers), detector
        self.detector = detector or Detector(self.providers, min_face=min_face, min_score=min_score)

    def __reduce__(self) -> tuple[Any, ...]:
        # ONNX Runtime's sessions cannot be pickled, so a copy loads the file again.
        options: dict[str, Any] = {"detector": self._custom_detector}
        if isinstance(self.detector, Detector):
            options |= {"min_face": self.detector.min_face, "min_score": self.detector.min_score}
        load = partial(Recognizer, self.path, flip=self.flip, providers=self.providers, **options)
        return load, (self.threads,)

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
        self,
        image: list[Any] | tuple[Any, ...] | Iterator[Any],
        *,
        face: bool = False,
        errors: Literal["raise"] = "raise",
    ) -> list[list[Face]]: ...

    @overload
    def predict(
        self,
        image: list[Any] | tuple[Any, ...] | Iterator[Any],
        *,
        face: bool = False,
        errors: Literal["skip"],
    ) -> list[list[Face] | None]: ...

    @overload
    def predict(
        self,
        image: np.ndarray,
        *,
        face: bool = False,
        boxes: Sequence[Box] | None = None,
        errors: Literal["raise", "skip"] = "raise",
    ) -> list[Face] | list[list[Face]]: ...

    def predict(
        self,
        image: AnyImage | Iterable[AnyImage],
        *,
        face: bool = False,
        boxes: Sequence[Box] | None = None,
        errors: Literal["raise", "skip"] = "raise",
    ) -> list[Face] | list[list[Face]] | list[list[Face] | None]:
        """Return the faces in an image from left to right; for several images, a list of lists.

        Args:
            image: A path, the bytes of a file, an open file, a PIL image, or an array as for
                `fer.images.reading.grey`. Several images are a list, an iterator or a pandas Series
                of these, or an array [N, H, W] or [N, H, W, 3]. Pass three grey images as a list,
                because [3, H, W] could be one image with its colors first.
            face: Whether each image is one face already, with the margin of FER2013's. Its central
                square is used, and no face is searched for.
            boxes: Boxes of the faces in one image (left, top, right, bottom in pixels). No face is
                searched for; the result has one face per box, in this order.

            errors: For several images, what to do with one that cannot be read: "raise", or "skip",
                which gives a warning and None in place of its faces.

        Raises:
            FerError: If an image cannot be read or has another type, or a box is empty, huge or
                outside the image.

        Examples:
            >>> import numpy as np
            >>> recognizer = Recognizer(threads=1)
            >>> black = np.zeros((100, 120), np.uint8)
            >>> recognizer.predict(black)
            []
            >>> (face,) = recognizer.predict(black, face=True)
            >>> face.box
            (10, 0, 110, 100)
            >>> [face.box for face in recognizer.predict(black, boxes=[(0, 0, 50, 50)])]
            [(0, 0, 50, 50)]
            >>> len(recognizer.predict([black, black]))
            2
        """
        if reading.is_like_array(image):
            image = reading.to_array(image)
        if errors not in ("raise", "skip"):
            raise FerError(f"errors is {errors!r}; use 'raise' or 'skip'")
        if boxes is not None:
            if face or _is_batch(image):
                raise FerError("boxes need a single image and face=False; remove one of them")
            return self.predict_boxes(reading.grey(reading.load(cast(AnyImage, image))), boxes)
        if not _is_batch(image):
            return self._predict_crops([self._crop(cast(AnyImage, image), face)])[0]
        batch = cast(Iterable[AnyImage], image)
        crop = self._crop if errors == "raise" else self._crop_or_none
        crops = list(map_in_order(lambda item: crop(item, face), batch, self.threads))
        faces = iter(self._predict_crops([found for found in crops if found is not None]))
        return [None if found is None else next(faces) for found in crops]

    def detect(self, pixels: np.ndarray) -> list[tuple[Box, float | None]]:
        """Return the boxes of the faces in an image, each with the score of its detection.

        Args:
            pixels: Grey image, uint8 [H, W].

        Returns:
            Boxes and scores, 0 to 1; a detector of one's own gives None in place of scores.

        Raises:
            FerError: If a box of one's own detector is empty or huge.
        """
        if type(self.detector) is Detector:  # a subclass may override `__call__`
            return list(self.detector.detect(pixels))
        return [(_check_box(box), None) for box in self.detector(pixels)]

    def predict_boxes(self, pixels: np.ndarray, boxes: Iterable[Box]) -> list[Face]:
        """Return one face per box, in the order of the boxes.

        Args:
            pixels: Grey image, uint8 [H, W].
            boxes: Left, top, right, bottom in pixels.

        Raises:
            FerError: If a box is empty, huge or outside the image.
        """
        crops: list[_Crop] = []
        for box in map(_check_box, boxes):
            left, top, right, bottom = box
            height, width = pixels.shape
            if right <= 0 or bottom <= 0 or left >= width or top >= height:
                raise FerError(
                    f"the box {left}, {top}, {right}, {bottom} is outside the image of {width} x "
                    f"{height} pixels; pass one that overlaps it"
                )
            crops.append((box, None, crop_face(pixels, box)))
        return self._predict_crops([crops])[0]

    def classify(self, faces: np.ndarray) -> np.ndarray:
        """Return the probabilities of faces, float32 [N, C].

        Args:
            faces: uint8 [N, 48, 48], 0 black to 255 white, with the margin of FER2013's faces.

        Raises:
            FerError: If the array has another shape or type.

        Examples:
            >>> import numpy as np
            >>> Recognizer(threads=1).classify(np.zeros((2, 48, 48), np.uint8)).shape
            (2, 7)
        """
        faces = np.asarray(faces)
        if faces.dtype != np.uint8 or faces.shape[1:] != (FACE_SIZE, FACE_SIZE):
            raise FerError(
                f"faces are {faces.dtype} {list(faces.shape)}; convert them to uint8 [N, 48, 48]"
            )
        return self._run(["probabilities"], faces)[0]

    def _run(self, outputs: list[str], faces: np.ndarray) -> list[np.ndarray]:
        """Run the model on faces uint8 [N, 48, 48]; average with the mirror images if `flip`."""
        if not self.flip:
            return self._run_session(outputs, np.ascontiguousarray(faces))
        results = self._run_session(outputs, np.concatenate([faces, faces[..., ::-1]]))
        pairs = [(result[: len(faces)], result[len(faces) :]) for result in results]
        # Class activation maps of mirror images are mirrored back.
        return [(a + (b[..., ::-1] if b.ndim == 4 else b)) / 2 for a, b in pairs]

    def _run_session(self, outputs: list[str], faces: np.ndarray) -> list[np.ndarray]:
        if len(faces) <= _BATCH_SIZE:
            return self.session.run(outputs, {"faces": faces})
        starts = range(0, len(faces), _BATCH_SIZE)
        batches = [faces[start : start + _BATCH_SIZE] for start in starts]
        run = partial(self.session.run, outputs)
        results = list(map_in_order(lambda batch: run({"faces": batch}), batches, self.threads))
        return [np.concatenate(arrays) for arrays in zip(*results, strict=True)]

    def _predict_crops(self, crops: list[list[_Crop]]) -> list[list[Face]]:
        """Predict the emotions of the crops of each image, all in one run."""
        pixels = [crop for image in crops for _, _, crop in image]
        if not pixels:
            return [[] for _ in crops]
        results = zip(*self._run(["probabilities", "maps"], np.stack(pixels)), strict=True)
        return [[self._face(*crop, *next(results)) for crop in image] for image in crops]

    def _crop(self, image: AnyImage, face: bool) -> list[_Crop]:
        """Return the faces in an image: box, score of the detection, pixels uint8 [48, 48]."""
        pixels = reading.grey(reading.load(image))
        boxes = [(center_square(pixels), None)] if face else self.detect(pixels)
        return [(box, score, crop_face(pixels, box)) for box, score in boxes]

    def _crop_or_none(self, image: AnyImage, face: bool) -> list[_Crop] | None:
        """Return what `_crop` returns; None after a warning if the image cannot be read."""
        try:
            return self._crop(image, face)
        except FerError as error:
            warnings.warn(str(error), stacklevel=2)
            return None

    def _face(
        self,
        box: Box,
        score: float | None,
        pixels: np.ndarray,
        probabilities: np.ndarray,
        maps: np.ndarray,
    ) -> Face:
        emotion = self.classes[int(probabilities.argmax())]
        by_class = dict(zip(self.classes, probabilities.tolist(), strict=True))
        return Face(box, emotion, by_class, pixels, maps, score=score)


def _is_batch(image: AnyImage | Iterable[AnyImage]) -> bool:
    if isinstance(image, np.ndarray):
        if image.dtype.kind in "OU" and image.ndim:  # paths, for example
            return True
        return image.ndim == 4 or (image.ndim == 3 and image.shape[2] > 4 and image.shape[0] != 3)
    return isinstance(image, list | tuple | Iterator) and not hasattr(image, "read")


def _check_box(box: Sequence[int]) -> Box:
    try:
        left, top, right, bottom = map(int, box)
    except (TypeError, ValueError, OverflowError) as error:
        raise FerError(
            f"the box {box} is not left, top, right, bottom in pixels; pass four numbers"
        ) from error
    shown = f"the box {left}, {top}, {right}, {bottom}"
    if left >= right or top >= bottom:
        raise FerError(f"{shown} is empty; the order is left, top, right, bottom")
    if max(right - left, bottom - top) > _MAX_BOX_SIDE:
        raise FerError(
            f"{shown} has a side of more than {_MAX_BOX_SIDE} pixels; pass a smaller one"
        )
    return left, top, right, bottom
