// The engine of the page on a server: `fer serve` finds the faces. The static page has its own,
// demo/engine.js, with the same functions.

export const privacy = "Pictures are sent to this server only, which keeps nothing.";
export const hasMaps = false;

let token = "";

/** Return the models to choose from, the classes, and a warning or null. */
export async function start() {
  const { model, classes } = await ask("health", {});
  return { models: [model.replace(".onnx", "")], classes, warning: null };
}

/** Return the faces in a picture: box, score, and probabilities in the order of the classes. */
export async function predict(bitmap, file, name, classes) {
  const { faces } = await ask("predict", { method: "POST", body: file ?? (await encode(bitmap)) });
  return faces.map((face) => ({ ...face, probabilities: classes.map((name) => face.probabilities[name]) }));
}

async function ask(path, options) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { ...options, headers }).catch(() => {
    throw new Error("The server does not answer. Check that fer serve runs, and try again.");
  });
  if (response.status === 401) {
    token = prompt("The token of this server:") ?? "";
    if (token) return ask(path, options);
    throw new Error("This server asks for a token. Ask its owner for it, and try again.");
  }
  if (response.status === 503) throw new Error("The server is busy. Try again in some seconds.");
  if (response.status === 413) throw new Error("This file is too large. Shrink it, and try again.");
  const answer = await response.json();
  if (answer.error) throw new Error("This file cannot be read as a picture. Save it as JPEG, and open that.");
  return answer;
}

/** Return a frame of a video as JPEG. */
async function encode(bitmap) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.95 });
}
