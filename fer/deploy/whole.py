"""Write one ONNX graph from a photo to the emotions of its faces: `fer export --whole`.

onnxscript translates the functions with `@script` to ONNX operators. They repeat
`fer.images.detection` and `Recognizer`, which explain each step, and Pillow's resizing, bit by bit:
a grey value that is rounded otherwise may move a box by a pixel. Detections are the columns of
double [7, N]: left, top, right, bottom, center of eyes, nose and mouth (x, y), score.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, inliner, numpy_helper, shape_inference, version_converter
from onnxscript import FLOAT, INT32, UINT8, optimizer, script
from onnxscript import opset20 as op
from onnxscript.values import Opset

from fer.core.errors import FerError
from fer.core.faces import FACE_SIZE
from fer.core.files import atomic_path
from fer.data.sample import ACTION_UNITS, draw_large
from fer.deploy.export import quiet
from fer.images import detection
from fer.predict.recognizer import Recognizer

fer = Opset("fer", 1)
"""Domain of the functions, until `_build` replaces them by their operators."""

_DOUBLE, _FLOAT, _INT = TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.INT64
_INT32, _UINT8 = TensorProto.INT32, TensorProto.UINT8

# onnxscript reads plain numbers, and tensors made by `_tensor`, but no attributes of modules.
_LONG_SIDE, _FACE_SIDE = float(detection._LONG_SIDE), float(detection._FACE_SIDE)
_WINDOW, _MIN_SCORE = float(detection._WINDOW), 0.6  # the latter as in `Recognizer`
_TILE, _STEP = detection._TILE, detection._TILE - detection._OVERLAP
_STRIDE = detection._STRIDES[-1]
_MIN_CANDIDATE_SCORE, _MIN_FINE_SCORE = detection._MIN_CANDIDATE_SCORE, detection._MIN_FINE_SCORE
_MAX_IOU, _MAX_CONTAINED = detection._MAX_IOU, detection._MAX_CONTAINED
_MAX_AREA_RATIO = float(detection._MAX_AREA_RATIO)
_BOX_TO_CROP, _CROP_ABOVE_CENTER = detection._BOX_TO_CROP, detection._CROP_ABOVE_CENTER

_tensor = numpy_helper.from_array
_ZOOMS = _tensor(0.5 / 4.0 ** np.arange(6))
_NOTHING_FOUND = _tensor(np.zeros((7, 0)))
_NO_FACES = _tensor(np.zeros((0, FACE_SIZE, FACE_SIZE), np.uint8))
_NO_PIXELS = _tensor(np.zeros((0, 1, 1), np.uint8))
_ORIGIN, _BILINEAR, _BICUBIC = _tensor(np.zeros(2)), _tensor(np.ones(1)), _tensor(np.array([2.0]))
_FACE_SHAPE = _tensor(np.array([FACE_SIZE, FACE_SIZE]))
_GREY, _RGB = [65536, 0, 0, 0], [19595, 38470, 7471, 0]
_GREY_WEIGHTS = _tensor(np.array([_GREY, _GREY, _RGB, _RGB], np.float32) / 65536)
"""Pillow's weights for images of 1 to 4 channels; alpha is ignored."""


@script(fer, default_opset=op)
def to_grey(image):
    """uint8 [H, W, C] to uint8 [H, W], 64 rows at a time: float32 of all would fill the memory."""
    channels = op.Shape(image, start=2)
    table = op.Gather(op.Constant(value=_GREY_WEIGHTS), channels - 1)
    weights = op.Slice(table, [0], channels, [1])
    parts = op.SequenceEmpty(dtype=_UINT8)
    for number in range((op.Squeeze(op.Shape(image, end=1)) + 63) / 64):
        top = op.Unsqueeze(64 * number, [0])
        rows = op.Slice(image, top, top + 64)
        flat = op.Cast(op.Reshape(rows, op.Concat([-1], channels, axis=0)), to=_FLOAT)
        values = op.Gemm(weights, flat, op.Constant(value_floats=[0.5]), transB=1)
        part = op.Reshape(op.Cast(values, to=_UINT8), op.Shape(rows, end=2))
        parts = op.SequenceInsert(parts, part)
    return op.ConcatFromSequence(parts, axis=0)


@script(fer, default_opset=op)
def reduce(pixels, factors):
    """uint8 [H, W] to the means of blocks, uint8; those at the end may be cut off."""
    sides = op.Shape(pixels)
    blocks = (sides + factors - 1) / factors
    rows, columns = op.Split(factors, num_outputs=2)
    height, width = op.Split(sides, num_outputs=2)
    vertical, horizontal = op.Split(blocks, num_outputs=2)
    shape = op.Concat(vertical, rows, horizontal, columns, axis=0)
    margin = op.Concat([0, 0], blocks * factors - sides, axis=0)
    padded = op.Pad(op.Cast(pixels, to=_FLOAT), margin)
    sums = op.ReduceSum(op.Reshape(padded, shape), [1, 3], keepdims=0)
    tops = op.Range(0, op.Squeeze(height), op.Squeeze(rows))
    lefts = op.Range(0, op.Squeeze(width), op.Squeeze(columns))
    counts = op.Unsqueeze(op.Min(rows, height - tops), [1]) * op.Min(columns, width - lefts)
    return op.Cast(sums / op.Cast(counts, to=_FLOAT) + 0.5, to=_UINT8)


@script(fer, default_opset=op)
def resample(pixels, start, length, count, support):
    """uint8 [H, W] to uint8 [count, W]: `length` rows from `start` on, by Pillow's arithmetic.

    The support is 1 for bilinear and 2 for bicubic. 16 rows of the result are one matrix product.
    Pillow's weights are integers up to 2**22. Their upper and lower 11 bits are multiplied apart,
    so that float32 holds the sums without rounding.
    """
    height = op.Shape(pixels, end=1)
    step = length / op.Cast(count, to=_DOUBLE)
    stretch = op.Max(step, 1.0)
    reach = support * stretch
    numbers = op.Range(0, op.Squeeze((count + 15) / 16 * 16), 1)
    centers = start + (op.Reshape(op.Cast(numbers, to=_DOUBLE), [-1, 16, 1]) + 0.5) * step
    first = op.Max(op.Floor(op.Slice(centers, [0], [1], [1]) - reach), 0.0)
    span = op.Cast(op.Ceil(15.0 * step + 2.0 * reach), to=_INT) + 2
    rows = op.Cast(first, to=_INT) + op.Range(0, op.Squeeze(span), 1)
    d = op.Abs(op.Cast(rows, to=_DOUBLE) + 0.5 - centers) / stretch
    if op.Squeeze(support > 1.0):
        outer = op.Where(d < 2.0, (((d - 5.0) * d + 8.0) * d - 4.0) * -0.5, 0.0)
        weights = op.Where(d < 1.0, (1.5 * d - 2.5) * d * d + 1.0, outer)
    else:
        weights = op.Max(1.0 - d, 0.0)
    weights = op.Where(rows < height, weights, 0.0)
    fixed = op.Floor(weights / op.ReduceSum(weights, [2]) * 4194304.0 + 0.5) / 2048.0
    upper = op.Floor(fixed)
    halves = op.Cast(op.Concat(upper / 2048.0, fixed - upper, axis=1), to=_FLOAT)
    blocks = op.Cast(op.Gather(pixels, op.Squeeze(op.Min(rows, height - 1), [1])), to=_FLOAT)
    uppers, lowers = op.Split(op.MatMul(halves, blocks), num_outputs=2, axis=1)
    values = uppers + (op.Floor(lowers) * 0.00048828125 + 0.5)
    result = op.Cast(op.Clip(values, 0.0, 255.0), to=_UINT8)
    shape = op.Concat([-1], op.Shape(pixels, start=1), axis=0)
    return op.Slice(op.Reshape(result, shape), [0], count)


@script(fer, default_opset=op)
def resize(pixels, start, length, size, support, height_first):
    """uint8 [H, W], and the rest as (y, x), to uint8 of a size: `Image.resize` with a box."""
    top, left = op.Split(start, num_outputs=2)
    height, width = op.Split(length, num_outputs=2)
    rows, columns = op.Split(size, num_outputs=2)
    if height_first:
        low = op.Transpose(resample(pixels, top, height, rows, support))
        result = op.Transpose(resample(low, left, width, columns, support))
    else:
        narrow = op.Transpose(resample(op.Transpose(pixels), left, width, columns, support))
        result = resample(narrow, top, height, rows, support)
    return op.Identity(result)


@script(fer, default_opset=op)
def starts_with_height(sides, size):
    """Tell whether Pillow resizes the height first: where it shrinks much more than the width."""
    height, width = op.Split(sides - size, num_outputs=2)
    return op.Squeeze(height > op.Max(2 * width, 0))


@script(fer, default_opset=op)
def round_to_float(values):
    """Round double to float32, as Pillow does with boxes."""
    return op.Cast(op.Cast(values, to=_FLOAT), to=_DOUBLE)


@script(fer, default_opset=op)
def shrink(pixels, size):
    """uint8 [H, W] and int64 [2] to uint8 of this size: bilinear, with `reducing_gap=2`."""
    sides = op.Shape(pixels)
    factors = op.Max(sides / (2 * size), 1)
    if op.ReduceMax(factors, keepdims=0) > 1:
        image = reduce(pixels, factors)
    else:
        image = op.Identity(pixels)
    length = round_to_float(op.Cast(sides, to=_DOUBLE) / op.Cast(factors, to=_DOUBLE))
    height_first = starts_with_height(op.Shape(image), size)
    return resize(
        image, op.Constant(value=_ORIGIN), length, size, op.Constant(value=_BILINEAR), height_first
    )


@script(fer, default_opset=op)
def decode(offsets, landmarks, scores, stride, min_score):
    """Outputs of one stride, [K, ., h, w], to detections in pixels of the network's inputs.

    An eighth row has the number of the input.
    """
    is_found = op.Reshape(scores, [-1]) >= op.Cast(min_score, to=_FLOAT)
    at = op.Squeeze(op.NonZero(is_found), [0])
    values = op.Transpose(op.Concat(offsets, landmarks, scores, axis=1), perm=[1, 0, 2, 3])
    found = op.Cast(op.Gather(op.Reshape(values, [7, -1]), at, axis=1), to=_DOUBLE)
    middles, sides, centers, found_scores = op.Split(found, [2, 2, 2, 1])
    height, width = op.Split(op.Shape(scores, start=2), num_outputs=2)
    row = at / width
    places = op.Concat(op.Mod(at, width), op.Mod(row, height), row / height, axis=0)
    places = op.Cast(places, to=_DOUBLE)
    cells, numbers = op.Split(op.Reshape(places, [3, -1]), [2, 1])
    middles = middles + cells
    halves = op.Exp(sides) / 2
    boxes = op.Concat(middles - halves, middles + halves, centers + cells, axis=0)
    return op.Concat(op.Cast(stride, to=_DOUBLE) * boxes, found_scores, numbers, axis=0)


@script(fer, default_opset=op)
def detect(inputs, min_score, zoom, corners):
    """uint8 [K, h, w], parts of a resized image, to detections in pixels of the image.

    The parts begin at corners [2, K] of the image. An eighth row has the number of the part.
    """
    missing = op.Mod(-op.Shape(inputs, start=1), _STRIDE)
    padded = op.Unsqueeze(op.Pad(inputs, op.Concat([0, 0, 0, 0], missing, axis=0)), [1])
    b8, m8, s8, b16, m16, s16, b32, m32, s32 = fer.YuNet(padded)
    small = decode(b8, m8, s8, 8, min_score)
    medium = decode(b16, m16, s16, 16, min_score)
    large = decode(b32, m32, s32, 32, min_score)
    places, scores, numbers = op.Split(op.Concat(small, medium, large, axis=1), [6, 1, 1])
    starts = op.Gather(corners, op.Cast(op.Squeeze(numbers, [0]), to=_INT), axis=1)
    places = places / zoom + op.Concat(starts, starts, starts, axis=0)
    return op.Concat(places, scores, numbers, axis=0)


@script(fer, default_opset=op)
def is_same_face(best, others):
    """Detections [7, 1] and [7, N] to bool [N]."""
    start, end, _a = op.Split(best, [2, 2, 3])
    starts, ends, _b = op.Split(others, [2, 2, 3])
    shared = op.ReduceProd(op.Max(op.Min(end, ends) - op.Max(start, starts), 0.0), [0], keepdims=0)
    area = op.ReduceProd(end - start, [0], keepdims=0)
    areas = op.ReduceProd(ends - starts, [0], keepdims=0)
    overlaps = shared >= _MAX_IOU * (area + areas - shared)
    contains = shared >= _MAX_CONTAINED * op.Min(area, areas)
    return overlaps | (contains & (areas <= _MAX_AREA_RATIO * area))


@script(fer, default_opset=op)
def suppress(found):
    """Non-maximum suppression."""
    scores = op.Squeeze(op.Slice(found, [6], [7], [0]), [0])
    _values, order = op.TopK(scores, op.Shape(scores))
    rest = op.Gather(found, order, axis=1)
    kept = op.Slice(rest, [0], [0], [1])
    goes_on = op.Size(rest) > 0
    while goes_on:
        best = op.Slice(rest, [0], [1], [1])
        others = op.Slice(rest, [1], op.Shape(rest, start=1), [1])
        kept = op.Concat(kept, best, axis=1)
        rest = op.Compress(others, op.Not(is_same_face(best, others)), axis=1)
        goes_on = op.Size(rest) > 0
    return kept


@script(fer, default_opset=op)
def cut(pixels, start, end, size, zoom):
    """uint8 [H, W] to uint8 [1, *size]: the part between two points (y, x), bilinear."""
    margin = op.Ceil(1.0 / zoom) + 1.0
    first = op.Max(op.Floor(start) - margin, 0.0)
    last = op.Ceil(end) + margin
    part = op.Slice(pixels, op.Cast(first, to=_INT), op.Cast(last, to=_INT))
    rounded = round_to_float(start)
    length = round_to_float(round_to_float(end) - rounded)
    height_first = starts_with_height(op.Shape(pixels), size)
    support = op.Constant(value=_BILINEAR)
    return op.Unsqueeze(resize(part, rounded - first, length, size, support, height_first), [0])


@script(fer, default_opset=op)
def look(pixels, candidates, zoom):
    """Look at candidates more closely; each gives at most one detection."""
    starts, ends, _rest = op.Split(candidates, [2, 2, 3])
    centers = (starts + ends) / 2.0
    limits = op.Unsqueeze(op.Cast(op.Gather(op.Shape(pixels), [1, 0]), to=_DOUBLE), [1])
    side = _WINDOW / zoom
    corners = op.Min(op.Max(centers - side / 2.0, 0.0), op.Max(limits - side, 0.0))
    opposites = op.Min(corners + side, limits)
    lengths = op.Squeeze(op.Gather(op.Min(limits, side), [1, 0]), [1])
    size = op.Cast(op.Max(op.Round(lengths * zoom), 1.0), to=_INT)
    windows = op.Expand(op.Constant(value=_NO_PIXELS), op.Concat([0], size, axis=0))
    count = op.Shape(candidates, start=1)
    points = op.Gather(
        op.Concat(op.Unsqueeze(corners, [0]), op.Unsqueeze(opposites, [0]), axis=0), [1, 0], axis=1
    )
    for number in range(op.Squeeze(count)):
        start, end = op.Split(op.Gather(points, number, axis=2), num_outputs=2)
        window = cut(pixels, op.Squeeze(start, [0]), op.Squeeze(end, [0]), size, zoom)
        windows = op.Concat(windows, window, axis=0)
    found = detect(windows, op.Unsqueeze(op.CastLike(_MIN_FINE_SCORE, zoom), [0]), zoom, corners)
    lefts, rights, _center, scores, numbers = op.Split(found, [2, 2, 2, 1, 1])
    owners = op.Cast(op.Squeeze(numbers, [0]), to=_INT)
    offsets = op.Abs((lefts + rights) / 2.0 - op.Gather(centers, owners, axis=1))
    reach = op.Gather(op.ReduceMax(ends - starts, [0]) / 2.0, owners, axis=1)
    is_near = op.ReduceMax(offsets, [0]) < reach
    is_own = op.Unsqueeze(op.Range(0, op.Squeeze(count), 1), [1]) == op.Unsqueeze(owners, [0])
    own_scores = op.Where(is_own & is_near, scores, -1.0)
    # A last column of zeros is the best where nothing is near.
    own_scores = op.Pad(own_scores, [0, 0, 0, 1])
    best = op.ArgMax(own_scores, axis=1, keepdims=0)
    result = op.Gather(op.Pad(found, [0, 0, 0, 1]), best, axis=1)
    is_found = op.Squeeze(op.Slice(result, [6], [7], [0]), [0]) > 0.0
    return op.Compress(op.Slice(result, [0], [7], [0]), is_found, axis=1)


@script(fer, default_opset=op)
def search(pixels, zoom, sure_score):
    """Detections in uint8 [H, W], resized by a zoom [1]."""
    closer = op.Min(2.0 * zoom, 1.0)
    is_closer = closer > 1.1 * zoom
    min_score = op.Where(is_closer, op.CastLike(_MIN_CANDIDATE_SCORE, zoom), sure_score)
    sides = op.Cast(op.Shape(pixels), to=_DOUBLE)
    size = op.Cast(op.Max(op.Round(sides * zoom), 1.0), to=_INT)
    resized = shrink(pixels, size)
    rows, columns = op.Split(
        op.Max((size - (_TILE - _STEP) + (_STEP - 1)) / _STEP, 1), num_outputs=2
    )
    found = op.Constant(value=_NOTHING_FOUND)
    for number in range(op.Squeeze(rows * columns)):
        start = op.Concat(number / columns, op.Mod(number, columns), axis=0) * _STEP
        tile = op.Unsqueeze(op.Slice(resized, start, start + _TILE), [0])
        corner = op.Unsqueeze(op.Cast(op.Gather(start, [1, 0]), to=_DOUBLE) / zoom, [1])
        in_tile = detect(tile, min_score, zoom, corner)
        found = op.Concat(found, op.Slice(in_tile, [0], [7], [0]), axis=1)
    found = suppress(found)
    left, _top, right, _bottom, _center, scores = op.Split(found, [1, 1, 1, 1, 2, 1])
    is_sure = op.Squeeze(scores >= sure_score, [0])
    is_small = op.Squeeze(right - left < _FACE_SIDE / zoom, [0])
    candidates = op.Slice(op.Compress(found, is_small & op.Not(is_sure), axis=1), [0], [300], [1])
    sure = op.Compress(found, is_sure, axis=1)
    if op.Size(candidates) > 0:
        result = op.Concat(sure, look(pixels, candidates, closer), axis=1)
    else:
        result = op.Identity(sure)
    return result


@script(fer, default_opset=op)
def to_boxes(found):
    """Detections to the crops' boxes, int64 [N, 4]."""
    start, end, center, _score = op.Split(found, [2, 2, 2, 1])
    side = _BOX_TO_CROP * op.ReduceSum(end - start, [0]) / 2.0
    x, y = op.Split(center, num_outputs=2)
    left, top = op.Round(x - side / 2.0), op.Round(y - _CROP_ABOVE_CENTER * side - side / 2.0)
    boxes = op.Concat(left, top, left + op.Round(side), top + op.Round(side), axis=0)
    return op.Cast(op.Transpose(boxes), to=_INT)


@script(fer, default_opset=op)
def crop(pixels, box):
    """uint8 [H, W] and int64 [4] to uint8 [1, 48, 48]."""
    left, top, right, bottom = op.Split(box, num_outputs=4)
    last = op.Shape(pixels) - 1
    last_row, last_column = op.Split(last, num_outputs=2)
    rows = op.Clip(op.Range(op.Squeeze(top), op.Squeeze(bottom), 1), 0, op.Squeeze(last_row))
    columns = op.Clip(op.Range(op.Squeeze(left), op.Squeeze(right), 1), 0, op.Squeeze(last_column))
    face = op.Gather(op.Gather(pixels, rows), columns, axis=1)
    length = op.Cast(op.Shape(face), to=_DOUBLE)
    never = op.Squeeze(left > right)
    resized = resize(
        face,
        op.Constant(value=_ORIGIN),
        length,
        op.Constant(value=_FACE_SHAPE),
        op.Constant(value=_BICUBIC),
        never,
    )
    return op.Unsqueeze(resized, [0])


@script(fer, default_opset=op)
def recognize(image):
    """uint8 [H, W, C] to boxes, scores, probabilities and maps."""
    pixels = to_grey(image)
    long_side = op.Cast(op.ReduceMax(op.Shape(pixels)), to=_DOUBLE)
    coarsest = op.Min(_LONG_SIDE / long_side, 2.0)
    zooms = op.Constant(value=_ZOOMS)
    zooms = op.Concat(op.Compress(zooms, zooms > 1.2 * coarsest), coarsest, axis=0)
    found = op.Constant(value=_NOTHING_FOUND)
    for number in range(op.Size(zooms)):
        zoom = op.Unsqueeze(op.Gather(zooms, number), [0])
        sure_score = op.Where(
            zoom == coarsest, op.CastLike(_MIN_SCORE, zoom), op.CastLike(_MIN_FINE_SCORE, zoom)
        )
        found = op.Concat(found, search(pixels, zoom, sure_score), axis=1)
    found = suppress(found)
    crops = to_boxes(found)
    left, top, _end = op.Split(crops, [1, 1, 2], axis=1)
    count = op.Shape(found, start=1)
    _values, order = op.TopK(op.Squeeze(left * 65536 + top, [1]), count, largest=0)
    crops = op.Gather(crops, order)
    faces = op.Constant(value=_NO_FACES)
    for number in range(op.Squeeze(count)):
        faces = op.Concat(faces, crop(pixels, op.Gather(crops, number)), axis=0)
    mirrored = op.Slice(faces, [-1], [-100], [2], [-1])
    both, both_maps = fer.Emotions(op.Concat(faces, mirrored, axis=0))
    mirrored_maps = op.Slice(op.Slice(both_maps, count, 2 * count), [-1], [-100], [3], [-1])
    boxes = op.Cast(crops, to=_INT32)
    sorted_scores = op.Gather(op.Squeeze(op.Slice(found, [6], [7], [0]), [0]), order)
    scores = op.Cast(sorted_scores, to=_FLOAT)
    probabilities = (op.Slice(both, [0], count) + op.Slice(both, count, 2 * count)) / 2.0
    maps = (op.Slice(both_maps, [0], count) + mirrored_maps) / 2.0
    return boxes, scores, probabilities, maps


def export_whole(model: str | Path, target: Path) -> float:
    """Write the graph with a model, and keep it if it finds and predicts the same as `Recognizer`.

    The model is the name of a released one or an ONNX file of fer. The input `image` is uint8
    [H, W, C], upright, with C = 1 (grey), 3 (RGB) or 4 (RGBA, alpha is ignored). The outputs are
    those of `Recognizer(model).predict`, from left to right: `boxes`, int32 [N, 4]; `scores`,
    float32 [N]; `probabilities`, float32 [N, C]; `maps`, float32 [N, C, h, w]. The metadata are
    those of the model. Returns the largest difference of a probability on 6 drawn faces.

    Raises:
        FerError: If the model cannot be read, the name of the target does not end in .onnx, or the
            graph finds or predicts something else.
    """
    if target.suffix != ".onnx":
        raise FerError(f"{target}: is no name for an ONNX file; use the suffix .onnx")
    recognizer = Recognizer(model, threads=1)
    content = _build(onnx.load(recognizer.path)).SerializeToString(deterministic=True)
    generator = np.random.default_rng(0)
    faces = [np.asarray(draw_large(emotion, generator)) for emotion in ACTION_UNITS]
    scene = np.block([faces[:3], faces[3:6]])
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    boxes, _, probabilities, _ = session.run(None, {"image": scene[..., None]})
    expected = recognizer.predict(scene)
    if [face.box for face in expected] != [tuple(box) for box in boxes.tolist()]:
        raise FerError(f"{target}: is not kept: it finds other faces than Recognizer in a drawing")
    values = np.array([list(face.probabilities.values()) for face in expected])
    difference = float(np.abs(probabilities - values).max())
    if difference > 0.01:
        raise FerError(
            f"{target}: is not kept: its probabilities differ by {difference:.4f} from Recognizer's"
        )
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)
    return difference


def _build(emotions: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph of `export_whole` with a model from faces to emotions."""
    dims = emotions.graph.output[1].type.tensor_type.shape.dim[1:]
    classes, height, width = (dim.dim_value for dim in dims)
    model = recognize.to_model_proto(
        input_types=[UINT8["H", "W", "channels"]],
        output_types=[
            INT32["N", 4],
            FLOAT["N"],
            FLOAT["N", classes],
            FLOAT["N", classes, height, width],
        ],
    )
    yunet = onnx.load(Path(detection.__file__).with_name("yunet.onnx"))
    for name, part in (("YuNet", yunet), ("Emotions", emotions)):
        model.functions.append(_as_function(version_converter.convert_version(part, 20), name))
    model = shape_inference.infer_shapes(inliner.inline_local_functions(model))
    with quiet():  # ONNX Runtime would cast constants in each run of a loop
        optimizer.fold_constants(model)
        optimizer.remove_unused_nodes(model)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", 20))
    model.metadata_props.extend(emotions.metadata_props)
    return model


def _as_function(model: onnx.ModelProto, name: str) -> onnx.FunctionProto:
    graph = model.graph
    constants = [helper.make_node("Constant", [], [c.name], value=c) for c in graph.initializer]
    inputs, outputs = ([value.name for value in values] for values in (graph.input, graph.output))
    nodes = [*constants, *graph.node]
    return helper.make_function(fer.domain, name, inputs, outputs, nodes, model.opset_import)
