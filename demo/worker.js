// Runs the network outside the page's own thread, so that the page stays responsive.
//
// The page sends {model, sizes, bitmap}; the worker answers {loaded, total} while it loads, then
// {result} or {error}. Without a bitmap, the result is {classes, warning}.

import * as ort from "./ort/ort.js";

const RUNTIME = "ort/ort.wasm.gz";
const models = {}; // {session, classes, warning} by name
let isReady = false;

self.onmessage = async ({ data: { model, sizes, bitmap } }) => {
  try {
    models[model] ??= await load(model, sizes);
    const { session, classes, warning } = models[model];
    const result = bitmap ? await predict(session, bitmap, classes.length) : { classes, warning };
    self.postMessage({ result });
  } catch (error) {
    console.error(error);
    self.postMessage({ error: error.advice ?? "The network failed here. Load the page again, or try a smaller picture." });
  }
};

async function load(name, sizes) {
  const path = `models/${name}.onnx.gz`;
  const paths = isReady ? [path] : [RUNTIME, path];
  const total = paths.reduce((sum, each) => sum + sizes[each], 0);
  const loaded = paths.map(() => 0);
  const files = await Promise.all(
    paths.map((each, i) =>
      download(each, (bytes) => {
        loaded[i] = Math.min(bytes, sizes[each]); // a host may have unpacked it
        self.postMessage({ loaded: loaded.reduce((a, b) => a + b), total });
      }),
    ),
  );
  const bytes = files.pop();
  if (!isReady) {
    ort.env.wasm.numThreads = 1; // more need headers that many static hosts cannot send
    ort.env.wasm.wasmBinary = files[0].buffer;
  }
  isReady = true;
  // `fer export --whole` has optimized the graph already.
  const options = { graphOptimizationLevel: "disabled", logSeverityLevel: 3 };
  const session = await ort.InferenceSession.create(bytes, options);
  await predict(session, await createImageBitmap(new ImageData(64, 64)), 1); // the first is slow
  self.postMessage({ loaded: total, total });
  return { session, ...readMetadata(bytes) };
}

async function download(path, progress) {
  const offline = new Error(`${path} did not arrive`);
  offline.advice = "The network did not arrive. Check the connection, and load the page again.";
  const response = await fetch(new URL(path, import.meta.url)).catch(() => null);
  if (!response?.ok) throw offline;
  const chunks = [];
  let count = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    progress((count += value.length));
  }
  const blob = new Blob(chunks);
  const isPacked = new DataView(await blob.slice(0, 2).arrayBuffer()).getUint16() === 0x1f8b;
  const stream = isPacked ? blob.stream().pipeThrough(new DecompressionStream("gzip")) : blob.stream();
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Find the faces in an ImageBitmap, which is used up, and predict their emotions. */
async function predict(session, bitmap, classCount) {
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height); // below transparent parts
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = new Uint8Array(context.getImageData(0, 0, width, height).data.buffer);
  const image = new ort.Tensor("uint8", pixels, [height, width, 4]);
  const { boxes, scores, probabilities, maps } = await session.run({ image });
  const cells = maps.dims[2] * maps.dims[3];
  return Array.from(scores.data, (score, i) => {
    const of = ({ data }, length, at = i) => data.slice(at * length, (at + 1) * length);
    const values = Array.from(of(probabilities, classCount));
    const best = values.indexOf(Math.max(...values));
    return { box: Array.from(of(boxes, 4)), score, probabilities: values, map: of(maps, cells, i * classCount + best) };
  });
}

/**
 * Read the metadata in an ONNX file: its field 14, a list of keys and values in JSON.
 *
 * https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
 */
function readMetadata(bytes) {
  const text = new TextDecoder();
  const entries = protobufFields(bytes).filter(([field]) => field === 14);
  return Object.fromEntries(
    entries.map(([, entry]) => protobufFields(entry).map(([, value]) => text.decode(value)))
      .filter(([key]) => key === "classes" || key === "warning")
      .map(([key, value]) => [key, JSON.parse(value)]),
  );
}

/** Return number and bytes of each field that has a length; skip the others. */
function protobufFields(bytes) {
  const fields = [];
  let at = 0;
  const varint = () => {
    let [value, factor] = [0, 1];
    for (; bytes[at] & 0x80; factor *= 128) value += (bytes[at++] & 0x7f) * factor;
    return value + bytes[at++] * factor;
  };
  while (at < bytes.length) {
    const key = varint();
    const length = { 0: 0, 1: 8, 5: 4 }[key & 7] ?? varint();
    if ((key & 7) === 0) varint();
    if ((key & 7) === 2) fields.push([key >> 3, bytes.subarray(at, at + length)]);
    at += length;
  }
  return fields;
}
