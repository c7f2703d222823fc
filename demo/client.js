// The page's side of worker.js: each function returns a promise.

import { upright, webpOrientation } from "./webp.js";

const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
const pending = new Map();
let lastId = 0;

worker.onmessage = ({ data: { id, result, error } }) => {
  const { resolve, reject } = pending.get(id);
  pending.delete(id);
  if (error === undefined) resolve(result);
  else reject(new Error(error));
};

// A file that the worker imports may be missing; later calls fail too.
let failure = null;

worker.onerror = (event) => {
  failure = new Error(event.message || "worker.js or a file that it imports cannot be loaded");
  for (const { reject } of pending.values()) reject(failure);
  pending.clear();
};

function call(method, options = {}, transferred = []) {
  return new Promise((resolve, reject) => {
    if (failure) return reject(failure);
    pending.set(++lastId, { resolve, reject });
    worker.postMessage({ id: lastId, method, ...options }, transferred);
  });
}

const loading = new Map();

/** Load a model ("int8" or "float32") once; return {bytes, classes, metadata}. */
export function load(name) {
  if (!loading.has(name)) {
    const model = call("load", { name });
    model.catch(() => loading.delete(name)); // it may work the next time
    loading.set(name, model);
  }
  return loading.get(name);
}

/** Forget the faces of the video before. */
export const restart = () => call("restart");

/** Decode an image file, upright by its EXIF, with the pixels that are in it. */
export async function decode(blob) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(blob, options);
  const turn = webpOrientation(new Uint8Array(await blob.arrayBuffer()));
  return turn === 1 ? bitmap : upright(bitmap, turn);
}

/** Predict the faces in an ImageBitmap, which is used up; see worker.js. */
export const predict = (bitmap, names, seconds) =>
  call("predict", { bitmap, names, seconds }, [bitmap]);
