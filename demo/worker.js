// Runs the network outside the page's own thread, so that the page stays responsive.
//
// The page sends {model, sizes, bitmap, port}; the worker answers to the port: {loaded, total} while
// it loads, then {result}, the faces, or {error}.

import * as ort from "./ort/ort.js";

const RUNTIME = "ort/ort.wasm.gz";
const sessions = {}; // by the name of the model
let isReady = false;

self.onmessage = async ({ data: { model, sizes, bitmap, port } }) => {
  try {
    sessions[model] ??= load(model, sizes, port).catch((error) => {
      delete sessions[model]; // the next picture tries again
      throw error;
    });
    port.postMessage({ result: await predict(await sessions[model], bitmap) });
  } catch (error) {
    console.error(error);
    port.postMessage({ error: error.advice ?? "The network failed here. Load the page again, or try a smaller picture." });
  }
};

async function load(name, sizes, port) {
  const path = `models/${name}.onnx.gz`;
  const paths = isReady ? [path] : [RUNTIME, path];
  const total = paths.reduce((sum, each) => sum + sizes[each], 0);
  let loaded = 0;
  const progress = (bytes) => {
    loaded = Math.min(loaded + bytes, total); // a host may have unpacked the files
    port.postMessage({ loaded, total });
  };
  const files = await Promise.all(paths.map((each) => download(each, progress)));
  if (!isReady) {
    ort.env.wasm.numThreads = 1; // more need headers that many static hosts cannot send
    ort.env.wasm.wasmBinary = files[0].buffer;
  }
  isReady = true;
  // Optimizing the graph takes seconds here, and runs are no faster.
  const options = { graphOptimizationLevel: "disabled", logSeverityLevel: 3 };
  const session = await ort.InferenceSession.create(files.at(-1), options);
  port.postMessage({ loaded: total, total });
  return session;
}

async function download(path, progress) {
  const offline = new Error(`${path} did not arrive`);
  offline.advice = "The network did not arrive. Check the connection, and load the page again.";
  const response = await fetch(new URL(path, import.meta.url)).catch(() => null);
  if (!response?.ok) throw offline;
  const chunks = [];
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    progress(value.length);
  }
  const blob = new Blob(chunks);
  const isPacked = new DataView(await blob.slice(0, 2).arrayBuffer()).getUint16() === 0x1f8b;
  const stream = isPacked ? blob.stream().pipeThrough(new DecompressionStream("gzip")) : blob.stream();
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Find the faces in an ImageBitmap, which is used up, and predict their emotions. */
async function predict(session, bitmap) {
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height); // below transparent parts
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = new Uint8Array(context.getImageData(0, 0, width, height).data.buffer);
  const image = new ort.Tensor("uint8", pixels, [height, width, 4]);
  const { boxes, scores, probabilities, maps } = await session.run({ image });
  const [, count, rows, columns] = maps.dims;
  const cells = rows * columns;
  return Array.from(scores.data, (score, i) => {
    const of = ({ data }, length, at = i) => data.slice(at * length, (at + 1) * length);
    const values = Array.from(of(probabilities, count));
    const best = values.indexOf(Math.max(...values));
    return { box: Array.from(of(boxes, 4)), score, probabilities: values, map: of(maps, cells, i * count + best) };
  });
}
