// The page: sources (files, camera, pasted pictures), boxes, bars and the curve over time.

import * as client from "./client.js";

const $ = (id) => document.getElementById(id);
const COLORS = ["#d55e00", "#009e73", "#cc79a7", "#e0c800", "#0072b2", "#e69f00", "#888888", "#56b4e9"];
const CURVE_SECONDS = 20;

// `turn` counts what was opened and stopped, so that a late answer to something earlier is dropped.
const state = { models: [], classes: [], bytes: 0, last: null, file: null, live: null, curve: [], turn: 0, isOpening: false };

main().catch((error) => report(`error: ${error.message}`));

async function main() {
  connect();
  state.models = await (await fetchFile("models/index.json")).json(); // int8 before float32
  $("compare").closest("label").hidden = state.models.length === 1;
  const { classes, metadata } = await load(state.models[0]);
  state.classes = classes;
  $("warning").textContent = metadata.warning ?? "";
  $("warning").hidden = !metadata.warning;
  await showExamples();
  if (state.turn === 0) report("Ready. Choose a picture.");
}

async function fetchFile(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return response;
}

/** Load a model once; count its bytes once. */
async function load(name) {
  const loaded = await client.load(name);
  state.bytes += loaded.bytes;
  loaded.bytes = 0;
  return loaded;
}

function report(text) {
  $("status").textContent = text;
}

function connect() {
  $("file").addEventListener("change", ({ target }) => {
    const [file] = target.files;
    target.value = ""; // so that the same file can be chosen again
    open(file);
  });
  $("camera").addEventListener("click", startCamera);
  $("stop").addEventListener("click", () => stop());
  $("compare").addEventListener("change", compare);
  $("overlay").addEventListener("change", () => state.last && draw(state.last));
  document.addEventListener("keydown", ({ key }) => key === "Escape" && stop());
  document.addEventListener("paste", ({ clipboardData }) => open(clipboardData.files[0]));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    open(event.dataTransfer.files[0]);
  });
}

async function showExamples() {
  for (const name of await (await fetchFile("examples/index.json")).json()) {
    const blob = await (await fetchFile(`examples/${name}`)).blob();
    const button = document.createElement("button");
    const image = document.createElement("img");
    Object.assign(image, { src: URL.createObjectURL(blob), height: 56 });
    image.alt = `Example: ${name.replace(/\..*/, "")}`;
    Object.assign(button, { type: "button", className: "example" });
    button.append(image);
    button.addEventListener("click", () => open(blob));
    $("examples").append(button);
  }
}

/** Show a photo or a video. */
function open(file) {
  if (!file) return;
  stop();
  if (file.type.startsWith("video/")) {
    playVideo(file);
  } else {
    state.file = file;
    $("timeline").hidden = true;
    openPhoto(file);
  }
}

async function openPhoto(file) {
  const turn = ++state.turn;
  state.isOpening = true;
  report("Looking for faces ...");
  let bitmap;
  try {
    bitmap = await client.decode(file);
  } catch (error) {
    if (turn === state.turn) {
      state.isOpening = false;
      clear();
      const reason = error.message.replace(/[.]$/, "");
      report(`This file cannot be read as a picture or a video (${reason}). Choose another.`);
    }
    return;
  }
  if (turn !== state.turn) return bitmap.close(); // something else was opened in the meantime
  try {
    await predict(turn, bitmap);
  } catch (error) {
    if (turn === state.turn) report(`error: ${error.message}`);
  }
  if (turn === state.turn) state.isOpening = false;
}

/** Predict what is shown once more: a photo, or the last frame of a video that has ended. */
async function compare() {
  if (state.live || state.isOpening) return; // the next frame or photo does it
  if (state.file) return openPhoto(state.file);
  if (!state.last) return;
  const turn = ++state.turn;
  try {
    await predict(turn, await createImageBitmap(state.last.shown));
  } catch (error) {
    if (turn === state.turn) report(`error: ${error.message}`);
  }
}

async function playVideo(file) {
  const video = $("video");
  video.srcObject = null;
  video.src = URL.createObjectURL(file);
  await play(++state.turn, video, () => video.currentTime);
}

async function startCamera() {
  stop();
  const turn = ++state.turn;
  if (!navigator.mediaDevices) {
    return report("This page has no camera: open it by https or on localhost, or choose a photo.");
  }
  state.isOpening = true;
  report("Waiting for the camera ...");
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640 } });
  } catch (error) {
    const reasons = {
      NotFoundError: "There is no camera. Connect one, or open a photo or a video.",
      NotAllowedError: "The camera is not allowed. Allow it in the browser's address bar.",
      NotReadableError: "Another program uses the camera. Close it, and try again.",
    };
    const reason = reasons[error.name] ?? `The camera cannot be used: ${error.message}`;
    if (turn !== state.turn) return;
    state.isOpening = false;
    return report(reason);
  }
  if (turn !== state.turn) return end(stream); // something else was opened, or it was stopped
  $("video").srcObject = stream;
  const start = performance.now();
  await play(turn, $("video"), () => (performance.now() - start) / 1000);
}

/** Predict each frame until the video ends or is stopped. */
async function play(turn, video, seconds) {
  state.live = video;
  state.isOpening = false;
  state.file = null;
  state.curve = [];
  $("stop").hidden = false;
  $("timeline").hidden = false;
  $("status").ariaLive = "off"; // or a screen reader would read every frame
  $("chart").width = $("chart").clientWidth;
  try {
    await video.play();
    await client.restart();
    let last = -1;
    while (turn === state.turn && !video.ended) {
      const now = seconds();
      if (video.error) throw new Error(video.error.message);
      if (!video.videoWidth) throw new Error("it has no pictures");
      if (video.readyState >= 2 && now > last) {
        last = now;
        await predict(turn, await createImageBitmap(video), now);
      } else {
        await new Promise(requestAnimationFrame);
      }
    }
    if (turn === state.turn) stop("The video has ended.");
  } catch (error) {
    if (turn !== state.turn) return;
    stop();
    clear();
    $("timeline").hidden = true;
    report(`This video cannot be played here (${error.message}). Try another, or convert it to H.264 in MP4.`);
  }
}

/** Forget the last picture and its faces. */
function clear() {
  state.last?.shown.close();
  state.last = state.file = null;
  $("faces").replaceChildren();
  $("numbers").textContent = "";
  $("hint").hidden = false;
  $("picture").getContext("2d").clearRect(0, 0, $("picture").width, $("picture").height);
}

/** End what is open, or is about to be. */
function stop(text = "Stopped.") {
  state.turn++;
  if (state.isOpening) report(text);
  state.isOpening = false;
  if (!state.live) return;
  const video = state.live;
  video.pause();
  if (video.srcObject) end(video.srcObject);
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  state.live = null;
  if (document.activeElement === $("stop")) $("camera").focus();
  $("stop").hidden = true;
  $("status").ariaLive = "polite";
  report(text);
}

function end(stream) {
  for (const track of stream.getTracks()) track.stop();
}

async function predict(turn, bitmap, seconds) {
  const names = $("compare").checked ? state.models : state.models.slice(0, 1);
  const shown = await createImageBitmap(bitmap);
  for (const name of names) await load(name);
  const result = await client.predict(bitmap, names, seconds);
  if (turn !== state.turn) return shown.close();
  state.last?.shown.close();
  state.last = { ...result, names, shown };
  draw(state.last);
  const count = result.faces.length;
  report(count === 0 ? "No face found." : `${count} ${count === 1 ? "face" : "faces"}: ${summary(result)}`);
  if (seconds !== undefined) drawCurve(seconds, result.faces);
}

function summary({ faces }) {
  const shown = faces.slice(0, 5).map((face) => label(face));
  return [...shown, ...(faces.length > 5 ? ["..."] : [])].join(", ");
}

function label(face) {
  const { probabilities } = face[state.models[0]];
  const best = probabilities.indexOf(Math.max(...probabilities));
  return `${state.classes[best]} ${Math.round(100 * probabilities[best])} %`;
}

function draw({ faces, ms, width, height, names, shown }) {
  $("hint").hidden = true;
  const canvas = $("picture");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // as the networks see transparent parts
  context.fillRect(0, 0, width, height);
  context.drawImage(shown, 0, 0);
  const labels = []; // rectangles, so that no label hides another
  faces.forEach((face, i) => drawBox(context, face, face.id ?? i + 1, width, labels));
  $("faces").replaceChildren(...faces.map((face, i) => card(face, i, names)));
  const times = names.map((name) => `${name} ${ms[name].toFixed(1)} ms`).join(", ");
  $("numbers").textContent =
    `Detection ${ms.detection.toFixed(0)} ms, recognition ${times}; ` +
    `networks: ${(state.bytes / 1000).toFixed(0)} kB.`;
}

function drawBox(context, face, number, width, labels) {
  const [left, top, right, bottom] = face.box;
  const line = Math.max(2, width / 300);
  // A label is at least 11 pixels high where the picture is shown smaller than it is.
  const zoom = Math.max(1, width / ($("picture").clientWidth || width));
  const size = Math.max(11 * zoom, Math.min((right - left) / 6, width / 20));
  Object.assign(context, { strokeStyle: "#00c853", lineWidth: line, font: `${size}px system-ui` });
  context.strokeRect(left, top, right - left, bottom - top);
  const height = size * 1.4;
  const places = [`${number}: ${label(face)}`, `${number}`].flatMap((text) => {
    const length = context.measureText(text).width + 10;
    const x = Math.max(0, Math.min(left, width - length));
    const rows = top > height ? [top - height, bottom, top] : [bottom, top];
    return rows.map((y) => ({ text, x, y, length, height }));
  });
  const isFree = (place) => !labels.some((other) => overlap(other, place));
  const { text, x, y, length } = places.find(isFree) ?? places.at(-1);
  labels.push({ x, y, length, height });
  context.fillStyle = "#00c853";
  context.fillRect(x, y, length, height);
  context.fillStyle = "black";
  context.fillText(text, x + 5, y + size);
}

function overlap(a, b) {
  const isBeside = a.x >= b.x + b.length || b.x >= a.x + a.length;
  return !isBeside && a.y < b.y + b.height && b.y < a.y + a.height;
}

/** Return what is shown of a face: its pixels and a bar for each emotion. */
function card(face, number, names) {
  const article = document.createElement("article");
  const title = document.createElement("h2");
  title.textContent = `Face ${face.id ?? number + 1}: ${label(face)}`;
  const bars = document.createElement("div");
  bars.className = names.length > 1 ? "bars two" : "bars";
  state.classes.forEach((emotion, i) => {
    const values = names.map((name) => face[name].probabilities[i]);
    bars.append(bar(emotion, i, values, names));
  });
  article.append(faceCanvas(face[state.models[0]]), title, bars);
  return article;
}

function bar(emotion, i, values, names) {
  const row = document.createElement("div");
  row.className = "bar";
  const name = document.createElement("span");
  name.textContent = emotion;
  const tracks = document.createElement("span");
  tracks.className = "tracks";
  values.forEach((value, k) => {
    const meter = document.createElement("span");
    meter.className = "meter";
    meter.title = `${names[k]}: ${(100 * value).toFixed(1)} %`;
    const fill = document.createElement("span");
    fill.style.width = `${100 * value}%`;
    fill.style.background = COLORS[i % COLORS.length];
    fill.style.opacity = k ? 0.5 : 1;
    meter.append(fill);
    tracks.append(meter);
  });
  const percent = document.createElement("span");
  percent.className = "percent";
  percent.textContent = values.map((value) => `${Math.round(100 * value)} %`).join(" / ");
  row.append(name, tracks, percent);
  return row;
}

/** Return a canvas with a face as the network sees it, and the map of its emotion over it. */
function faceCanvas({ pixels, probabilities, maps, mapSize }) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 48;
  canvas.role = "img";
  canvas.setAttribute("aria-label", "The face as the network sees it");
  const best = probabilities.indexOf(Math.max(...probabilities));
  const [columns, rows] = mapSize;
  const map = maps.subarray(best * columns * rows, (best + 1) * columns * rows);
  const top = Math.max(...map, 1e-9);
  const image = new ImageData(48, 48);
  pixels.forEach((value, i) => {
    const [x, y] = [i % 48, Math.floor(i / 48)];
    const cell = Math.floor((y * rows) / 48) * columns + Math.floor((x * columns) / 48);
    const heat = $("overlay").checked ? Math.max(map[cell], 0) / top / 2 : 0;
    const colors = [255, 255 * Math.max(0, 2 * heat - 0.3), 0];
    colors.forEach((color, c) => (image.data[4 * i + c] = value * (1 - heat) + color * heat));
    image.data[4 * i + 3] = 255;
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** Draw the probabilities of the largest face over the last seconds. */
function drawCurve(seconds, faces) {
  const size = ({ box }) => box[2] - box[0];
  const largest = faces.reduce((a, b) => (a && size(a) >= size(b) ? a : b), null);
  state.curve.push({ seconds, id: largest?.id, probabilities: largest?.[state.models[0]].probabilities ?? null });
  while (state.curve[0].seconds < seconds - CURVE_SECONDS) state.curve.shift();
  const { width, height } = $("chart");
  const context = $("chart").getContext("2d");
  context.clearRect(0, 0, width, height);
  context.lineWidth = 2;
  const x = (at) => width - 110 - ((seconds - at) / CURVE_SECONDS) * (width - 110);
  state.classes.forEach((emotion, i) => {
    context.strokeStyle = context.fillStyle = COLORS[i % COLORS.length];
    context.beginPath();
    let before; // the face of the last point: the line ends where another one is the largest
    for (const { seconds: at, id, probabilities } of state.curve) {
      if (!probabilities) {
        before = undefined;
        continue;
      }
      const y = height - 4 - probabilities[i] * (height - 8);
      if (id === before) context.lineTo(x(at), y);
      else context.moveTo(x(at), y);
      before = id;
    }
    context.stroke();
    context.font = "13px system-ui";
    context.fillText(emotion, width - 100, 14 + i * Math.min(20, (height - 8) / state.classes.length));
  });
}
