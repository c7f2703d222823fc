// The engine of the static page: the network runs in worker.js, in this browser. The page on a
// server has another one, page/engine.js.

export const privacy = "Your pictures stay on this device: this page sends them nowhere.";
export const hasMaps = true;

const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
let sizes = {}; // bytes of the compressed files, by path
let progress = () => {};
let pending = null; // one call at a time
let failure = null;

worker.onmessage = ({ data: { loaded, total, result, error } }) => {
  if (loaded !== undefined) return progress(loaded, total);
  if (error === undefined) pending.resolve(result);
  else pending.reject(new Error(error));
};

worker.onerror = () => {
  failure = new Error("This browser is too old for the page, or the network is away. Update it, or load the page again.");
  pending?.reject(failure);
};

let queue = Promise.resolve();

function call(options, transferred = []) {
  const answer = queue.then(
    () =>
      new Promise((resolve, reject) => {
        if (failure) return reject(failure);
        pending = { resolve, reject };
        worker.postMessage({ ...options, sizes }, transferred);
      }),
  );
  queue = answer.catch(() => {});
  return answer;
}

/** Load the first model; return the models to choose from, the classes, and a warning or null. */
export async function start(showProgress) {
  progress = showProgress;
  const index = await (await fetch("models/index.json")).json();
  sizes = index.sizes;
  await predict(await createImageBitmap(new ImageData(64, 64)), null, index.models[0]); // the first is slow
  navigator.serviceWorker?.register("sw.js").catch(() => {}); // without it the page works online only
  return index;
}

/** Return the faces in a picture: box, score, probabilities, and a map of the emotion. */
export async function predict(bitmap, file, model) {
  if (!bitmap) throw new Error("This file cannot be read as a picture. Save it as JPEG, and open that.");
  const copy = await createImageBitmap(bitmap);
  return call({ model, bitmap: copy }, [copy]);
}
