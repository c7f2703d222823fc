"""Predict the emotions of the faces in images, with an ONNX model."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, overload

import numpy as np
from PIL import Image

from fer.core.errors import FerError
from fer.core.faces import FACE_SIZE
from fer.core.files import check_package_file
from fer.core.machine import cores
from fer.core.prior import with_uniform_prior
from fer.core.threads import map_in_order
from fer.images import reading
from fer.images.detection import Box, Detector, Providers, Session, center_square, crop_face

RELEASED = ("nano", "small", "base", "large")
"""Names of the released models, from the fastest to the most accurate."""

_WEIGHTS = Path(__file__).parents[1] / "weights"

_BATCH_SIZE = 16
"""Faces per call: the activations of 128 faces would not fit the caches."""

_MAX_BOX_SIDE = 30_000
"""Largest side of a box in pixels, so that a crop fits the memory."""

SMALL_FACE = 24
"""Side of a face in pixels below which the prediction is a guess; docs/detection.md measures it."""

UNSURE = "unsure"
"""What is printed for a face without an emotion."""

_OneImage = str | os.PathLike[str] | bytes | BinaryIO | Image.Image

_Crop = tuple[Box, float | None, np.ndarray]
"""Box of a face, score of its detection, and its pixels, uint8 [48, 48]."""


@dataclass(frozen=True)
class Face:
    """A face and its emotion. Faces are equal if box, emotion, probabilities and id are.

    Attributes:
        box: Left, top, right, bottom in pixels of the upright image; may reach beyond its edge.
        emotion: The class with the highest probability; None if that is below `min_confidence` of
            the recognizer.
        probabilities: Probability by class, 0 to 1; they sum to 1.
        pixels: Input of the model, uint8 [48, 48].
        maps: Class activation maps, float32 [C, h, w], averaged like the probabilities. Without
            averaging, their means are the logits, before the temperature of the model.
        id: In a video, the number of the face, which stays from frame to frame; otherwise None.
        score: Score of the detection, 0 to 1; None without one, as of a detector of one's own.
    """

    box: Box
    emotion: str | None
    probabilities: dict[str, float] = field(hash=False)
    pixels: np.ndarray = field(compare=False, repr=False)
    maps: np.ndarray = field(compare=False, repr=False)
    id: int | None = None
    score: float | None = field(default=None, compare=False)

    @property
    def label(self) -> str:
        """The emotion and its probability as text, such as "Happy 93%"; or "unsure"."""
        if self.emotion is None:
            return UNSURE
        return f"{self.emotion} {self.probabilities[self.emotion]:.0%}"


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
            default detector, such as "CUDAExecutionProvider" of the package onnxruntime-gpu, or
            ("CUDAExecutionProvider", {"device_id": 1}) with options.
        min_face: Side in pixels from which the default detector searches faces in large images; a
            larger value takes less time.
        min_score: Score, 0 to 1, from which a detection of the default detector counts as a face.
        precision: Of a released model: "int8", or "float32", in which only nano is released.
        prior: "training": the probabilities assume that each emotion is as frequent as in the
            training faces. "uniform": they assume that all emotions are equally frequent, so rare
            ones such as disgust are predicted more often.
        min_confidence: Probability, 0 to 1, below which the emotion of a face is None. The model
            then answers fewer faces, and more of its answers are correct (MODEL_CARD.md).

    Attributes:
        path: The model file.
        metadata: Its metadata: data set, scores, warning, classes and more.
        classes: Names of the classes, in the order of the probabilities.

    Raises:
        FerError: If the file is no such model, `threads` is below 1, ONNX Runtime lacks a provider,
            `min_confidence` is no probability, or a uniform prior is asked of a model that does not
            know its training faces.

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
        providers: Providers = ("CPUExecutionProvider",),
        min_face: int = 48,
        min_score: float = 0.6,
        precision: Literal["int8", "float32"] = "int8",
        prior: Literal["training", "uniform"] = "training",
        min_confidence: float = 0.0,
    ) -> None:
        if threads is not None and not (isinstance(threads, int | np.integer) and threads >= 1):
            raise FerError(f"threads is {threads!r}: use at least 1, or None for one per core")
        if not 0 <= min_confidence <= 1:
            raise FerError(f"min_confidence is {min_confidence}: use a probability from 0 to 1")
        self.path = model_path(model, precision)
        self.flip, self.threads = flip, threads or cores()
        self.session, self.metadata = _open_model(self.path, providers)
        self.classes: list[str] = self.metadata["classes"]
        if prior not in ("training", "uniform"):
            raise FerError(f"prior is {prior!r}; use 'training' or 'uniform'")
        if prior == "uniform" and "class_shares" not in self.metadata:
            raise FerError(
                f"{self.path}: has no class shares; quantize it anew for prior='uniform'"
            )
        self.prior, self.min_confidence = prior, min_confidence
        self.detector = detector or Detector(providers, min_face=min_face, min_score=min_score)

    @overload
    def predict(
        self, image: _OneImage, *, face: bool = False, boxes: Sequence[Box] | None = None
    ) -> list[Face]: ...

    @overload
    def predict(
        self, image: Any, *, face: bool = False, boxes: Sequence[Box] | None = None
    ) -> Any: ...

    def predict(self, image: Any, *, face: bool = False, boxes: Sequence[Box] | None = None) -> Any:
        """Return the faces in an image from left to right; for several images, a list of lists.

        Args:
            image: A path, the bytes of a file, an open file, a PIL image, or an array [H, W],
                [H, W, 1], [H, W, 3] (RGB) or [H, W, 4] (RGBA) as for `fer.images.reading.grey`.
                Several images are a list, a tuple, an iterator or a pandas Series of these, or an
                array [N, H, W] (grey) or [N, H, W, C]. An array of three dimensions is one image
                if the last is 1, 3 or 4. Colors are never the first dimension of an image.
            face: Whether each image is one face already, with the margin of FER2013's. Its central
                square is used, and no face is searched for.
            boxes: Boxes of the faces in one image (left, top, right, bottom in pixels). No face is
                searched for; the result has one face per box, in this order.

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
        image = reading.as_array(image)
        is_batch = _is_batch(image)
        if boxes is not None and (face or is_batch):
            raise FerError("boxes need a single image and face=False; remove one of them")
        if not is_batch:
            return self._predict_crops([self._crop(image, face, boxes)])[0]

        crop = partial(self._crop, face=face)
        return self._predict_crops(list(map_in_order(crop, image, self.threads)))

    def detect(self, pixels: np.ndarray) -> Sequence[tuple[Box, float | None]]:
        """Return the boxes and scores of the faces in grey pixels, uint8 [H, W].

        A detector of one's own gives None in place of scores.
        """
        if type(self.detector) is Detector:  # a subclass may override `__call__`
            return self.detector.detect(pixels)
        return _check_boxes(self.detector(pixels), pixels.shape)

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

    def emotion(self, probabilities: Mapping[str, float]) -> str | None:
        """Return the class with the highest probability, or None below `min_confidence`."""
        name = max(probabilities, key=lambda name: probabilities[name])
        return name if probabilities[name] >= self.min_confidence else None

    def _run(self, outputs: list[str], faces: np.ndarray) -> list[np.ndarray]:
        """Return outputs for faces uint8 [N, 48, 48]; the first one is the probabilities."""
        views = [faces, faces[..., ::-1]] if self.flip else [faces]
        results = self._run_session(outputs, np.concatenate(views))
        if self.flip:
            pairs = [(result[: len(faces)], result[len(faces) :]) for result in results]
            # Class activation maps of mirror images are mirrored back.
            results = [(a + (b[..., ::-1] if b.ndim == 4 else b)) / 2 for a, b in pairs]
        if self.prior == "uniform":
            results[0] = with_uniform_prior(results[0], self.metadata["class_shares"])
        return results

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

        def face(box: Box, score: float | None, pixels: np.ndarray) -> Face:
            probabilities, maps = next(results)
            by_class = dict(zip(self.classes, probabilities.tolist(), strict=True))
            return Face(box, self.emotion(by_class), by_class, pixels, maps, score=score)

        return [[face(*crop) for crop in image] for image in crops]

    def _crop(self, image: Any, face: bool, boxes: Sequence[Box] | None = None) -> list[_Crop]:
        """Return the faces in an image, or in its boxes."""
        pixels = reading.grey(reading.load(image))
        detections: Sequence[tuple[Box, float | None]]
        if boxes is not None:
            detections = _check_boxes(boxes, pixels.shape)
        else:
            detections = [(center_square(pixels), None)] if face else self.detect(pixels)
        return [(box, score, crop_face(pixels, box)) for box, score in detections]


def model_path(model: str | Path, precision: str = "int8") -> Path:
    """Return the file of a released model by its name, or the path of another file as it is.

    Raises:
        FerError: If the package has no released models in it.
    """
    if model not in RELEASED:
        return Path(model)
    check_package_file(_WEIGHTS / f"{RELEASED[0]}.int8.onnx")
    return _WEIGHTS / f"{model}.{precision}.onnx"


def _open_model(path: Path, providers: Providers) -> tuple[Session, dict[str, Any]]:
    """Return a session of ONNX Runtime and the metadata of a model."""
    advice = f"use {', '.join(RELEASED)} (only nano in float32) or an ONNX file of fer"
    try:
        session = Session(path.read_bytes(), providers)
        entries = session.get_modelmeta().custom_metadata_map
        metadata = {key: json.loads(value) for key, value in entries.items()}
    except FerError:
        raise
    except OSError as error:
        raise FerError(f"{path}: no model here: {error.strerror}; {advice}") from error
    except Exception as error:  # ONNX Runtime's errors have no common class
        raise FerError(f"{path}: is not a model that ONNX Runtime can read; {advice}") from error
    inputs = [(i.name, i.type, i.shape[1:]) for i in session.get_inputs()]
    outputs = {output.name for output in session.get_outputs()}
    is_ours = inputs == [("faces", "tensor(uint8)", [FACE_SIZE] * 2)] and "classes" in metadata
    if not (is_ours and {"probabilities", "maps"} <= outputs):
        raise FerError(f"{path}: its inputs, outputs or metadata are not those of fer; {advice}")
    return session, metadata


def _is_batch(image: Any) -> bool:
    if isinstance(image, np.ndarray):
        if image.dtype.kind in "OSU" and image.ndim:  # paths, for example
            return True
        return image.ndim == 4 or (image.ndim == 3 and image.shape[2] not in (1, 3, 4))
    return isinstance(image, list | tuple | Iterator) and not hasattr(image, "read")


def _check_boxes(boxes: Any, shape: tuple[int, ...]) -> list[tuple[Box, None]]:
    """Return boxes, of the user or of a detector, without scores."""
    if not isinstance(boxes, Iterable):
        raise FerError(f"the boxes are {boxes!r}; return or pass a list of them, if need be empty")
    return [(_check_box(box, shape), None) for box in boxes]


def _check_box(box: Sequence[int], shape: tuple[int, ...]) -> Box:
    """Return a box in whole pixels, which overlaps an image of a shape [H, W]."""
    height, width = shape
    try:
        left, top, right, bottom = map(int, box)
        has_sides = all(0 < side <= _MAX_BOX_SIDE for side in (right - left, bottom - top))
        if has_sides and right > 0 and bottom > 0 and left < width and top < height:
            return left, top, right, bottom
    except (TypeError, ValueError, OverflowError):
        pass
    raise FerError(
        f"the box {box} has no sides of 1 to {_MAX_BOX_SIDE} pixels or is outside the image of "
        f"{width} x {height}; pass left, top, right, bottom in pixels"
    )
