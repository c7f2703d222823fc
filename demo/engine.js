// The engine of the static page: the network runs in worker.js, in this browser. The page on a
// server has another one, page/engine.js.

export const privacy = "Your pictures stay on this device: this page sends them nowhere.";
export const hasMaps = true;

const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
const failed = new Promise((resolve, reject) => {
  const message = "This browser is too old for the page, or the network is away. Update it, or load the page again.";
  worker.onerror = () => reject(new Error(message));
});
failed.catch(() => {}); // each prediction reports it
let sizes = {}; // bytes of the compressed files, by path
let progress = () => {};

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
  const { port1, port2 } = new MessageChannel();
  const answer = new Promise((resolve, reject) => {
    port1.onmessage = ({ data: { loaded, total, result, error } }) => {
      if (loaded !== undefined) progress(loaded, total);
      else if (error === undefined) resolve(result);
      else reject(new Error(error));
    };
  });
  worker.postMessage({ model, sizes, bitmap: copy, port: port2 }, [copy, port2]);
  return Promise.race([answer, failed]);
}
