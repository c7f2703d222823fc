// Predict the emotion of a face: fer/predict/recognizer.py in JavaScript.

import { crop, resize } from "./pillow.js";

const FACE_SIZE = 48;

export class Recognizer {
  /** Take the runtime, a session of a model of fer, and the bytes of its file. */
  constructor(ort, session, bytes) {
    Object.assign(this, { ort, session });
    this.metadata = readMetadata(bytes);
    this.classes = this.metadata.classes;
  }

  /**
   * Return the faces in boxes: their pixels (48 x 48), probabilities by class, and class activation
   * maps [classes][height x width], all averaged over the face and its mirror image.
   */
  async predict(image, boxes) {
    if (boxes.length === 0) return [];
    const faces = boxes.map((box) => cropFace(image, box));
    const size = FACE_SIZE * FACE_SIZE;
    const pixels = new Uint8Array(2 * faces.length * size);
    faces.forEach((face, i) => {
      pixels.set(face, i * size);
      pixels.set(mirror(face, FACE_SIZE), (faces.length + i) * size);
    });
    const shape = [2 * faces.length, FACE_SIZE, FACE_SIZE];
    const tensor = new this.ort.Tensor("uint8", pixels, shape);
    const { probabilities, maps } = await this.session.run({ faces: tensor });
    const count = this.classes.length;
    const mapSize = maps.dims[2] * maps.dims[3];
    const row = (output, i, length) => output.data.subarray(i * length, (i + 1) * length);
    return faces.map((face, i) => {
      const mean = (output, length, flip = (values) => values) => {
        const other = flip(row(output, faces.length + i, length));
        return row(output, i, length).map((value, j) => (value + other[j]) / 2);
      };
      return {
        pixels: face,
        probabilities: Array.from(mean(probabilities, count)),
        maps: mean(maps, count * mapSize, (values) => mirror(values, maps.dims[3])),
        mapSize: [maps.dims[3], maps.dims[2]],
      };
    });
  }
}

/** Return the face in a box, 48 x 48. */
function cropFace(image, box) {
  const face = crop(image, box);
  if (face.width === FACE_SIZE && face.height === FACE_SIZE) return face.data;
  return resize(face, FACE_SIZE, FACE_SIZE, "bicubic").data;
}

/** Return images of a width, as one array, each row reversed. */
function mirror(values, width) {
  return values.map((_, i) => values[i - (i % width) + width - 1 - (i % width)]);
}

/**
 * Read the metadata in an ONNX file: its field 14, a list of keys and values in JSON.
 *
 * https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
 */
export function readMetadata(bytes) {
  const text = new TextDecoder();
  const metadata = {};
  for (const [field, entry] of protobufFields(bytes)) {
    if (field !== 14) continue;
    const values = Object.fromEntries(protobufFields(entry));
    const key = text.decode(values[1]);
    if (key !== "sha256") metadata[key] = JSON.parse(text.decode(values[2]));
  }
  return metadata;
}

/** Yield number and bytes of each field that has a length; skip the others. */
function* protobufFields(bytes) {
  let at = 0;
  const varint = () => {
    let [value, factor] = [0, 1];
    while (bytes[at] & 0x80) {
      value += (bytes[at++] & 0x7f) * factor;
      factor *= 128;
    }
    return value + bytes[at++] * factor;
  };
  while (at < bytes.length) {
    const key = varint();
    const kind = key & 7;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else {
      const length = varint();
      yield [key >> 3, bytes.subarray(at, at + length)];
      at += length;
    }
  }
}
