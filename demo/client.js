// The page's side of worker.js: each function returns a promise.

const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
const pending = new Map();
let lastId = 0;

worker.onmessage = ({ data: { id, result, error } }) => {
  const { resolve, reject } = pending.get(id);
  pending.delete(id);
  if (error === undefined) resolve(result);
  else reject(new Error(error));
};

worker.onerror = (event) => {
  for (const { reject } of pending.values()) reject(new Error(event.message || "cannot be loaded"));
  pending.clear();
};

function call(method, options = {}, transferred = []) {
  return new Promise((resolve, reject) => {
    pending.set(++lastId, { resolve, reject });
    worker.postMessage({ id: lastId, method, ...options }, transferred);
  });
}

/** Load a model ("int8" or "float32"); return {bytes, classes, metadata}. */
export const load = (name) => call("load", { name });

/** Forget the faces of the video before. */
export const restart = () => call("restart");

/** Decode an image file, upright by its EXIF, with the pixels that are in it. */
export const decode = (blob) =>
  createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });

/** Predict the faces in an ImageBitmap, which is used up; see worker.js. */
export const predict = (bitmap, names, seconds) =>
  call("predict", { bitmap, names, seconds }, [bitmap]);
