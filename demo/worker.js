// Runs the networks outside the page's own thread, so that the page stays responsive.
//
// The page sends {id, method, ...arguments}; the worker answers {id, result} or {id, error}.

import * as ort from "./ort/ort.wasm.min.mjs";
import { Detector } from "./detector.js";
import { grey } from "./pillow.js";
import { Recognizer } from "./classifier.js";
import { boxOf, smooth, Tracker } from "./tracker.js";

ort.env.wasm.numThreads = 1; // more need headers that many static hosts cannot send
ort.env.wasm.wasmPaths = new URL("./ort/", import.meta.url).href;

const recognizers = {};
let detector;
let tracker;

const methods = { load, predict, restart };

self.onmessage = async ({ data: { id, method, ...options } }) => {
  try {
    self.postMessage({ id, result: await methods[method](options) });
  } catch (error) {
    self.postMessage({ id, error: error.message });
  }
};

/** Load a model by its name ("int8", "float32") and the detector; return what the page shows. */
async function load({ name }) {
  let bytes = 0;
  if (!detector) {
    const file = await download("models/yunet.onnx");
    detector = new Detector(ort, await ort.InferenceSession.create(file));
    bytes += file.length;
  }
  if (!recognizers[name]) {
    const file = await download(`models/${name}.onnx`);
    const recognizer = new Recognizer(ort, await ort.InferenceSession.create(file), file);
    if (!recognizer.classes) throw new Error(`models/${name}.onnx: is no model of fer`);
    recognizers[name] = recognizer;
    bytes += file.length;
  }
  // The first run is slow, because it allocates.
  const blank = { width: 64, height: 64, data: new Uint8Array(64 * 64) };
  await detector.detect(blank);
  await recognizers[name].predict(blank, [[0, 0, 64, 64]]);
  return { bytes, classes: recognizers[name].classes, metadata: recognizers[name].metadata };
}

async function download(path) {
  const response = await fetch(new URL(path, import.meta.url));
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Forget the faces of the video before. */
function restart() {
  tracker = new Tracker();
}

/**
 * Find the faces in an ImageBitmap and predict their emotions with each model.
 *
 * With seconds, the image is a frame of a video: boxes and probabilities are smoothed.
 */
async function predict({ bitmap, names, seconds }) {
  const image = grey(pixelsOf(bitmap));
  const start = performance.now();
  const found = await detector.detect(image);
  const middle = performance.now();
  const tracks = seconds === undefined ? null : tracker.match(found.map((f) => f.box), seconds);
  const faces = found.map(({ box, score }, i) =>
    tracks
      ? { id: tracks[i].id, box: boxOf(tracks[i], image.width, image.height), score, track: tracks[i] }
      : { box, score },
  );
  faces.sort((a, b) => a.box[0] - b.box[0]);
  const ms = { detection: middle - start };
  for (const name of names) {
    const begin = performance.now();
    const results = await recognizers[name].predict(image, faces.map((face) => face.box));
    ms[name] = performance.now() - begin;
    results.forEach((result, i) => {
      const { track } = faces[i];
      const probabilities = track
        ? smooth(track, name, result.probabilities)
        : result.probabilities;
      faces[i][name] = { ...result, probabilities };
    });
  }
  for (const face of faces) delete face.track;
  return { faces, ms, width: image.width, height: image.height };
}

function pixelsOf(bitmap) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, canvas.width, canvas.height);
}
