// The page: sources (files, camera, pasted pictures), boxes, bars and the curve over time.

import * as client from "./client.js";

const $ = (id) => document.getElementById(id);
const COLORS = ["#d55e00", "#009e73", "#cc79a7", "#e0c800", "#0072b2", "#e69f00", "#888888", "#56b4e9"];
const CURVE_SECONDS = 20;

// `turn` counts what was opened, so that a late answer to an earlier picture is dropped.
const state = { classes: [], bytes: 0, last: null, live: null, curve: [], turn: 0 };

main().catch((error) => report(`error: ${error.message}`));

async function main() {
  connect();
  state.models = await (await fetch("models/index.json")).json();
  $("compare").closest("label").hidden = !state.models.includes("float32");
  const { classes, metadata } = await load("int8");
  state.classes = classes;
  if (metadata.warning) report(metadata.warning);
  await showExamples();
  report("Ready. Choose a picture.");
}

async function load(name) {
  const loaded = await client.load(name);
  state.bytes += loaded.bytes;
  return loaded;
}

function report(text) {
  $("status").textContent = text;
}

function connect() {
  $("file").addEventListener("change", ({ target }) => open(target.files[0]));
  $("camera").addEventListener("click", startCamera);
  $("stop").addEventListener("click", stop);
  $("compare").addEventListener("change", redo);
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
  const names = await (await fetch("examples/index.json")).json();
  for (const name of names) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "example";
    button.innerHTML = `<img src="examples/${name}" alt="Example ${name.replace(/\..*/, "")}" height="56" />`;
    button.addEventListener("click", async () => {
      open(await (await fetch(`examples/${name}`)).blob());
    });
    $("examples").append(button);
  }
}

/** Show a photo or a video. */
async function open(file) {
  if (!file) return;
  stop();
  if (file.type.startsWith("video/")) return playVideo(file);
  state.file = file;
  $("timeline").hidden = true;
  await openPhoto(file);
}

async function openPhoto(file) {
  const turn = ++state.turn;
  report("Looking for faces ...");
  try {
    const bitmap = await client.decode(file);
    const shown = await client.decode(file);
    await predict(turn, bitmap, shown);
  } catch (error) {
    if (turn !== state.turn) return;
    report(`This file cannot be read as a picture or a video (${error.message}). Choose another.`);
  }
}

function redo() {
  if (state.file && !state.live) openPhoto(state.file);
}

async function playVideo(file) {
  const video = $("video");
  video.srcObject = null;
  video.src = URL.createObjectURL(file);
  await play(video, () => video.currentTime);
}

async function startCamera() {
  stop();
  if (!navigator.mediaDevices) {
    return report("This page has no camera: open it by https or on localhost, or choose a photo.");
  }
  const video = $("video");
  try {
    video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 640 } });
  } catch (error) {
    const reasons = {
      NotFoundError: "There is no camera. Connect one, or open a photo or a video.",
      NotAllowedError: "The camera is not allowed. Allow it in the browser's address bar.",
      NotReadableError: "Another program uses the camera. Close it, and try again.",
    };
    return report(reasons[error.name] ?? `The camera cannot be used: ${error.message}`);
  }
  const start = performance.now();
  await play(video, () => (performance.now() - start) / 1000);
}

/** Predict each frame until the video ends or is stopped. */
async function play(video, seconds) {
  const live = { video };
  const turn = ++state.turn;
  state.live = live;
  state.file = null;
  state.curve = [];
  $("stop").hidden = false;
  $("timeline").hidden = false;
  $("chart").width = $("chart").clientWidth;
  try {
    await video.play();
    await client.restart();
    let last = -1;
    while (state.live === live && !video.ended) {
      const now = seconds();
      if (video.readyState >= 2 && now > last) {
        last = now;
        const [bitmap, shown] = await Promise.all([createImageBitmap(video), createImageBitmap(video)]);
        await predict(turn, bitmap, shown, now);
      } else {
        await new Promise(requestAnimationFrame);
      }
    }
  } catch (error) {
    report(`This video cannot be played here (${error.message}). Convert it to H.264 in MP4.`);
  }
  if (state.live === live) stop();
}

function stop() {
  if (!state.live) return;
  const { video } = state.live;
  video.pause();
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  state.live = null;
  $("stop").hidden = true;
}

async function predict(turn, bitmap, shown, seconds) {
  const names = ["int8"];
  if ($("compare").checked) {
    await load("float32");
    names.push("float32");
  }
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
  return faces.map((face) => label(face)).join(", ");
}

function label(face) {
  const { probabilities } = face.int8;
  const best = probabilities.indexOf(Math.max(...probabilities));
  return `${state.classes[best]} ${Math.round(100 * probabilities[best])} %`;
}

function draw({ faces, ms, width, height, names, shown }) {
  $("hint").hidden = true;
  const canvas = $("picture");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  context.drawImage(shown, 0, 0);
  for (const face of faces) drawBox(context, face, width);
  $("faces").replaceChildren(...faces.map((face, i) => card(face, i, names)));
  const times = names.map((name) => `${name} ${ms[name].toFixed(1)} ms`).join(", ");
  $("numbers").textContent =
    `Detection ${ms.detection.toFixed(0)} ms, recognition ${times}; ` +
    `networks: ${(state.bytes / 1000).toFixed(0)} kB.`;
}

function drawBox(context, face, width) {
  const [left, top, right, bottom] = face.box;
  const line = Math.max(2, width / 300);
  const size = Math.max(14, Math.min((right - left) / 6, width / 20));
  Object.assign(context, { strokeStyle: "#00c853", lineWidth: line, font: `${size}px system-ui` });
  context.strokeRect(left, top, right - left, bottom - top);
  const text = face.id === undefined ? label(face) : `${face.id}: ${label(face)}`;
  const y = top > size * 1.4 ? top - size * 1.4 : bottom;
  context.fillStyle = "#00c853";
  context.fillRect(left, y, context.measureText(text).width + 10, size * 1.4);
  context.fillStyle = "black";
  context.fillText(text, left + 5, y + size);
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
  article.append(faceCanvas(face), title, bars);
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
    const style = `width:${100 * value}%;background:${COLORS[i % COLORS.length]};opacity:${k ? 0.5 : 1}`;
    meter.innerHTML = `<span style="${style}"></span>`;
    tracks.append(meter);
  });
  const percent = document.createElement("span");
  percent.className = "percent";
  percent.textContent = values.map((value) => `${Math.round(100 * value)} %`).join(" / ");
  row.append(name, tracks, percent);
  return row;
}

/** Return a canvas with a face as the network sees it, and the map of its emotion over it. */
function faceCanvas({ int8: { pixels, probabilities, maps, mapSize } }) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 48;
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
  state.curve.push({ seconds, probabilities: largest?.int8.probabilities ?? null });
  while (state.curve[0].seconds < seconds - CURVE_SECONDS) state.curve.shift();
  const { width, height } = $("chart");
  const context = $("chart").getContext("2d");
  context.clearRect(0, 0, width, height);
  context.lineWidth = 2;
  const x = (at) => width - 110 - ((seconds - at) / CURVE_SECONDS) * (width - 110);
  state.classes.forEach((emotion, i) => {
    context.strokeStyle = context.fillStyle = COLORS[i % COLORS.length];
    context.beginPath();
    let isDown = false;
    for (const { seconds: at, probabilities } of state.curve) {
      if (!probabilities) {
        isDown = false;
        continue;
      }
      const y = height - 4 - probabilities[i] * (height - 8);
      if (isDown) context.lineTo(x(at), y);
      else context.moveTo(x(at), y);
      isDown = true;
    }
    context.stroke();
    context.font = "13px system-ui";
    context.fillText(emotion, width - 100, 14 + i * Math.min(20, (height - 8) / state.classes.length));
  });
}
