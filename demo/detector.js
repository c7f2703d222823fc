// Find faces with YuNet: fer/images/detection.py in JavaScript, where the constants are explained.

import { crop, resize, round } from "./pillow.js";

const LONG_SIDE = 448;
const FACE_SIDE = 48;
const MIN_CANDIDATE_SCORE = 0.05;
const MAX_CANDIDATES = 300;
const WINDOW = 128;
const MIN_FINE_SCORE = 0.7;
const PYRAMID_STEP = 4;
const [TILE, OVERLAP] = [1024, 192];
const MAX_IOU = 0.3;
const MAX_CONTAINED = 0.7;
const MAX_AREA_RATIO = 4;
const MAX_DETECTIONS = 20_000;
const STRIDES = [8, 16, 32];
const BOX_TO_CROP = 1 / 0.94;
const CROP_ABOVE_CENTER = 0.12;

// A detection is {box: [left, top, right, bottom], center: [x, y] of eyes, nose and mouth, score},
// in pixels.

export class Detector {
  /** Take the runtime and a session of yunet.onnx. */
  constructor(ort, session, { minFace = 48, minScore = 0.6 } = {}) {
    Object.assign(this, { ort, session, minFace, minScore });
  }

  /** Return the faces in a grey image from left to right: {box, score}, box a square. */
  async detect(image) {
    const zooms = pyramid(Math.max(image.width, image.height), this.minFace);
    const found = [];
    for (const [i, zoom] of zooms.entries()) {
      const isCoarsest = i === zooms.length - 1;
      const score = isCoarsest ? this.minScore : Math.max(this.minScore, MIN_FINE_SCORE);
      found.push(...(await this.#search(image, zoom, score)));
    }
    const faces = suppress(found).map((face) => ({ box: toCrop(face), score: face.score }));
    return faces.sort((a, b) => a.box[0] - b.box[0] || a.box[1] - b.box[1]);
  }

  async #search(image, zoom, sureScore) {
    const closer = Math.min(2 * zoom, FACE_SIDE / this.minFace);
    const minScore = closer > 1.1 * zoom ? Math.min(sureScore, MIN_CANDIDATE_SCORE) : sureScore;
    const width = Math.max(1, round(image.width * zoom));
    const height = Math.max(1, round(image.height * zoom));
    const resized = resize(image, width, height, "bilinear", { reducingGap: 2 });
    const found = [];
    for (let top = 0; top < Math.max(1, height - OVERLAP); top += TILE - OVERLAP) {
      for (let left = 0; left < Math.max(1, width - OVERLAP); left += TILE - OVERLAP) {
        const right = Math.min(left + TILE, width);
        const bottom = Math.min(top + TILE, height);
        const tile = crop(resized, [left, top, right, bottom]);
        found.push(...(await this.#run(tile, minScore)).map((face) => move(face, 1, left, top)));
      }
    }
    const detections = suppress(found);
    const sure = detections.filter(({ score }) => score >= sureScore);
    const candidates = detections
      .filter(({ score, box }) => score < sureScore && box[2] - box[0] < FACE_SIDE)
      .slice(0, MAX_CANDIDATES);
    const results = sure.map((face) => move(face, 1 / zoom, 0, 0));
    for (const candidate of candidates) {
      results.push(...(await this.#look(image, move(candidate, 1 / zoom, 0, 0), closer)));
    }
    return results;
  }

  /** Look at a candidate more closely. */
  async #look(image, candidate, zoom) {
    const side = WINDOW / zoom;
    const [x, y] = middle(candidate.box);
    const left = clip(x - side / 2, 0, Math.max(image.width - side, 0));
    const top = clip(y - side / 2, 0, Math.max(image.height - side, 0));
    const box = [left, top, Math.min(left + side, image.width), Math.min(top + side, image.height)];
    const width = Math.max(1, round((box[2] - left) * zoom));
    const height = Math.max(1, round((box[3] - top) * zoom));
    const window = resize(image, width, height, "bilinear", { box });
    const found = await this.#run(window, Math.max(this.minScore, MIN_FINE_SCORE));
    const [boxLeft, boxTop, boxRight, boxBottom] = candidate.box;
    const reach = Math.max(boxRight - boxLeft, boxBottom - boxTop) / 2;
    const near = found
      .map((face) => move(face, 1 / zoom, left, top))
      .filter(({ box: other }) => {
        const [otherX, otherY] = middle(other);
        return Math.max(Math.abs(otherX - x), Math.abs(otherY - y)) < reach;
      });
    return near.sort((a, b) => b.score - a.score).slice(0, 1);
  }

  /** Run the network on a grey image. */
  async #run({ width, height, data }, minScore) {
    const padded = [width, height].map((side) => side + ((32 - (side % 32)) % 32));
    const pixels = new Uint8Array(padded[0] * padded[1]);
    for (let y = 0; y < height; y++) {
      pixels.set(data.subarray(y * width, (y + 1) * width), y * padded[0]);
    }
    const tensor = new this.ort.Tensor("uint8", pixels, [1, 1, padded[1], padded[0]]);
    const outputs = await this.session.run({ pixels: tensor });
    const values = this.session.outputNames.map((name) => outputs[name].data);
    return STRIDES.flatMap((stride, level) => {
      const [offsets, landmarks, scores] = values.slice(3 * level, 3 * level + 3);
      const columns = padded[0] / stride;
      const found = [];
      for (let i = 0; i < scores.length; i++) {
        if (scores[i] < minScore) continue;
        const [column, row] = [i % columns, Math.floor(i / columns)];
        const at = (array, channel) => array[channel * scores.length + i];
        const [x, y] = [column + at(offsets, 0), row + at(offsets, 1)];
        const [w, h] = [Math.exp(at(offsets, 2)) / 2, Math.exp(at(offsets, 3)) / 2];
        const box = [x - w, y - h, x + w, y + h].map((value) => stride * value);
        const center = [column + at(landmarks, 0), row + at(landmarks, 1)];
        found.push({ box, center: center.map((value) => stride * value), score: scores[i] });
      }
      return found;
    });
  }
}

/** Return the factors by which an image is resized, so that all its faces are found. */
function pyramid(longSide, minFace) {
  const coarsest = Math.min(LONG_SIDE / longSide, 2);
  const zooms = [];
  for (let zoom = FACE_SIDE / minFace / 2; zoom > 1.2 * coarsest; zoom /= PYRAMID_STEP) {
    zooms.push(zoom);
  }
  return [...zooms, coarsest];
}

/** Non-maximum suppression: keep the highest-scoring box of each overlapping group. */
function suppress(detections) {
  let rest = [...detections].sort((a, b) => b.score - a.score).slice(0, MAX_DETECTIONS);
  const kept = [];
  while (rest.length) {
    const [first] = rest;
    kept.push(first);
    rest = rest.slice(1).filter((other) => !isSame(first.box, other.box));
  }
  return kept;
}

/** Tell whether a box b of a lower score is of the same face as a box a. */
function isSame(a, b) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  const shared = Math.max(width, 0) * Math.max(height, 0);
  const [areaA, areaB] = [a, b].map(([left, top, right, bottom]) => (right - left) * (bottom - top));
  const iou = shared / (areaA + areaB - shared);
  const contains = shared >= MAX_CONTAINED * Math.min(areaA, areaB);
  return iou >= MAX_IOU || (contains && areaB <= MAX_AREA_RATIO * areaA);
}

/** Return the square with FER2013's margin around a detection. */
function toCrop({ box: [left, top, right, bottom], center: [x, y] }) {
  const side = (BOX_TO_CROP * (right - left + bottom - top)) / 2;
  const cropLeft = round(x - side / 2);
  const cropTop = round(y - CROP_ABOVE_CENTER * side - side / 2);
  return [cropLeft, cropTop, cropLeft + round(side), cropTop + round(side)];
}

function move({ box, center, score }, zoom, left, top) {
  const [x, y] = [(value) => value * zoom + left, (value) => value * zoom + top];
  return {
    box: [x(box[0]), y(box[1]), x(box[2]), y(box[3])],
    center: [x(center[0]), y(center[1])],
    score,
  };
}

function middle([left, top, right, bottom]) {
  return [(left + right) / 2, (top + bottom) / 2];
}

function clip(value, low, high) {
  return Math.min(Math.max(value, low), high);
}
