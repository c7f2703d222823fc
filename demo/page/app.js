// The page: sources (photos, videos, camera), the gallery, boxes, bars, and the curve over time.
// engine.js finds the faces: on a server, or in this browser.

import * as engine from "./engine.js";

const $ = (id) => document.getElementById(id);
// Each has a contrast of 3:1 and more to white and to black.
const COLORS = ["#d55e00", "#009e73", "#cc79a7", "#8a7a00", "#0072b2", "#7b6cd9", "#888888", "#c03a3a"];
const CURVE_SECONDS = 20;
const DECODING = { colorSpaceConversion: "none", premultiplyAlpha: "none" }; // as in Python

// `turn` counts what was opened and stopped, so that a late answer to something earlier is dropped.
// `items` are the photos: {file, faces, error, thumb}; `shown` is the picture on the stage.
const state = { classes: [], turn: 0, items: [], item: null, shown: null, live: null, curve: [] };

main().catch(({ message }) => report(message, true));

async function main() {
  connect();
  $("privacy").textContent = engine.privacy;
  $("overlay-option").hidden = !engine.hasMaps;
  const { models, classes, warning } = await engine.start(showProgress);
  $("model").replaceChildren(...models.map((name) => new Option(name)));
  $("progress").hidden = true;
  state.classes = classes;
  $("warning").textContent = warning ?? "";
  $("warning").hidden = !warning;
  if (state.turn === 0) report("Ready. Choose a picture.");
}

function showProgress(loaded, total) {
  const left = total - loaded;
  $("progress").hidden = left === 0;
  Object.assign($("progress"), { value: loaded, max: total });
  if (left) report(`Loading the network: ${(loaded / 1e6).toFixed(1)} of ${(total / 1e6).toFixed(1)} MB`);
}

/** Show a line of text below the controls. An error says what to do. */
function report(text, isError = false) {
  $("status").textContent = text;
  $("status").className = isError ? "error" : "";
}

function connect() {
  for (const id of ["choose", "drop"]) $(id).addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", ({ target }) => {
    open([...target.files]);
    target.value = ""; // so that the same file can be chosen again
  });
  for (const image of document.querySelectorAll("#examples img")) {
    image.parentNode.addEventListener("click", async () => {
      const blob = await (await fetch(image.src)).blob();
      open([new File([blob], image.src.replace(/.*[/]/, ""), { type: blob.type })]);
    });
  }
  $("camera").addEventListener("click", () => (state.live ? stop() : startCamera()));
  $("model").addEventListener("change", () => state.items.length && openPhotos());
  $("overlay").addEventListener("change", () => state.shown && draw());
  $("save-table").addEventListener("click", saveTable);
  $("save-picture").addEventListener("click", () => $("picture").toBlob((blob) => save(blob, "faces.png")));
  document.addEventListener("keydown", ({ key }) => key === "Escape" && stop());
  document.addEventListener("paste", ({ clipboardData }) => open([...clipboardData.files]));
  for (const type of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(type, (event) => {
      event.preventDefault();
      document.body.classList.toggle("dragging", type === "dragover");
      if (type === "drop") open([...event.dataTransfer.files]);
    });
  }
}

function element(tag, className, properties = {}) {
  return Object.assign(document.createElement(tag), { className, ...properties });
}

/** Show photos, or a video. */
function open(files) {
  if (!files.length) return;
  stop();
  clear();
  const video = files.find((file) => file.type.startsWith("video/"));
  if (video) return play(video.name, () => ({ src: URL.createObjectURL(video) }));
  // The picture of a file that the browser cannot read stays empty.
  state.items = files.map((file) => ({ file, thumb: element("img", "", { src: URL.createObjectURL(file), alt: "" }) }));
  $("gallery").hidden = files.length === 1;
  openPhotos();
}

/** Predict the photos one after the other; show the first. */
async function openPhotos() {
  const turn = ++state.turn;
  for (const [i, item] of state.items.entries()) {
    report(state.items.length > 1 ? `Looking at photo ${i + 1} of ${state.items.length} …` : "Looking for faces …");
    await openPhoto(item, turn);
    if (turn !== state.turn) return;
    $("gallery").replaceChildren(...state.items.slice(0, i + 1).map(thumb));
  }
  const count = state.items.reduce((sum, { faces }) => sum + (faces?.length ?? 0), 0);
  if (state.items.length > 1) report(`${state.items.length} photos, ${plural(count)}. Choose one to see its faces.`);
}

async function openPhoto(item, turn) {
  let bitmap = null;
  try {
    // A server reads more kinds of files than a browser, which then cannot show them.
    bitmap = await createImageBitmap(item.file, DECODING).catch(() => null);
    item.error = null;
    item.faces = inReadingOrder(await engine.predict(bitmap, item.file, $("model").value, state.classes));
  } catch ({ message }) {
    const advice = "HEIC photos cannot be opened here. Save this one as JPEG, and open that.";
    [item.faces, item.error] = [[], /hei[cf]$/i.test(item.file.name) ? advice : message];
  }
  if (turn !== state.turn) return bitmap?.close();
  if (!state.item || state.item === item) show(item, bitmap);
  else bitmap?.close();
}

/** Put a photo on the stage. */
function show(item, bitmap) {
  state.item = item;
  clearStage();
  if (item.error) return report(item.error, true);
  report(summary(item.faces) + (bitmap ? "" : ". This browser cannot show the file; the server has read it."));
  state.shown = { bitmap, faces: item.faces, file: item.file.name };
  draw();
}

async function choose(item) {
  const turn = ++state.turn;
  const bitmap = await createImageBitmap(item.file, DECODING).catch(() => null);
  if (turn !== state.turn) return bitmap?.close();
  show(item, bitmap);
  $("gallery").replaceChildren(...state.items.map(thumb));
  $("gallery").querySelector("[aria-pressed=true]").focus();
}

function thumb(item) {
  const button = element("button", item.error ? "error" : "", { type: "button", title: item.file.name });
  button.ariaPressed = String(item === state.item);
  button.append(item.thumb, item.error ? "⚠ not read" : plural(item.faces.length));
  button.addEventListener("click", () => choose(item));
  return button;
}

async function startCamera() {
  stop();
  clear();
  await play("camera", async () => ({ srcObject: await navigator.mediaDevices.getUserMedia({ video: { width: 640 } }) }));
}

/** Predict each frame of a video or of the camera until it ends or is stopped. */
async function play(name, openSource) {
  const turn = ++state.turn;
  const video = $("video");
  report(`Opening the ${name === "camera" ? "camera" : "video"} …`);
  try {
    const source = await openSource();
    if (turn !== state.turn) return end(source); // something else was opened, or it was stopped
    state.live = Object.assign(video, { srcObject: null }, source);
    state.curve = [];
    $("timeline").hidden = false;
    $("camera").textContent = "Stop";
    $("status").ariaLive = "off"; // or a screen reader would read every frame
    await video.play();
    await playFrames(name, video, turn);
    if (turn === state.turn) stop("The video has ended.");
  } catch (error) {
    if (turn !== state.turn) return;
    stop();
    clear();
    report(explainVideo(error), true);
  }
}

async function playFrames(name, video, turn) {
  let last = -1;
  while (turn === state.turn && !video.ended) {
    if (video.error || !video.videoWidth) throw new Error("no picture");
    if (video.readyState < 2 || video.currentTime <= last) {
      await new Promise(requestAnimationFrame);
      continue;
    }
    last = video.currentTime;
    const bitmap = frameOf(video);
    const faces = inReadingOrder(await engine.predict(bitmap, null, $("model").value, state.classes));
    if (turn !== state.turn) return bitmap.close();
    state.shown?.bitmap.close();
    state.shown = { bitmap, faces, file: name, seconds: last };
    draw();
    drawCurve(last, faces);
    report(summary(faces));
  }
}

/** Return the frame that is shown. The camera's is mirrored, as people know themselves. */
function frameOf(video) {
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  const context = canvas.getContext("2d");
  if (video.srcObject) context.setTransform(-1, 0, 0, 1, canvas.width, 0);
  context.drawImage(video, 0, 0);
  return canvas.transferToImageBitmap();
}

function explainVideo({ name, message }) {
  const reasons = {
    NotFoundError: "There is no camera. Connect one, or open a photo or a video.",
    NotAllowedError: "The camera is not allowed. Allow it in the browser's address bar.",
    NotReadableError: "Another program uses the camera. Close it, and try again.",
    TypeError: "This page may not use the camera. Open it by https or on localhost.",
  };
  const isOurs = /^The server|^This server/.test(message);
  return reasons[name] ?? (isOurs ? message : "This video cannot be played here. Convert it to MP4 (H.264), and open that.");
}

/** End what is open, or is about to be. */
function stop(text = "Stopped.") {
  const isBusy = state.live || $("status").textContent.endsWith("…");
  state.turn++;
  if (isBusy) report(text);
  if (!state.live) return;
  state.live.pause();
  end(state.live);
  state.live.removeAttribute("src");
  state.live = state.live.srcObject = null;
  $("camera").textContent = "Camera";
  $("status").ariaLive = "polite";
}

function end({ srcObject, src }) {
  for (const track of srcObject?.getTracks() ?? []) track.stop();
  if (src) URL.revokeObjectURL(src);
}

/** Forget all pictures. */
function clear() {
  clearStage();
  for (const { thumb } of state.items) URL.revokeObjectURL(thumb.src);
  [state.items, state.item] = [[], null];
  $("gallery").hidden = $("timeline").hidden = true;
  $("gallery").replaceChildren();
}

function clearStage() {
  state.shown?.bitmap?.close();
  state.shown = null;
  $("faces").replaceChildren();
  $("picture").hidden = $("downloads").hidden = true;
  $("drop").hidden = false;
}

/** Sort faces by rows from the top, and by columns from the left in each row. */
function inReadingOrder(faces) {
  const rows = [];
  for (const face of [...faces].sort((a, b) => a.box[1] - b.box[1])) {
    const middle = (face.box[1] + face.box[3]) / 2;
    const row = rows.find(([first]) => middle < first.box[3]);
    if (row) row.push(face);
    else rows.push([face]);
  }
  const sorted = rows.flatMap((row) => row.sort((a, b) => a.box[0] - b.box[0]));
  return sorted.map((face, i) => ({ ...face, number: i + 1 }));
}

const plural = (count) => `${count} ${count === 1 ? "face" : "faces"}`;
const best = ({ probabilities }) => probabilities.indexOf(Math.max(...probabilities));
const percent = (value) => `${Math.round(100 * value)} %`;
const label = (face) => `${state.classes[best(face)]} ${percent(face.probabilities[best(face)])}`;

function summary(faces) {
  if (!faces.length) return "No face found";
  const labels = faces.slice(0, 5).map(label).join(", ");
  return `${plural(faces.length)}: ${labels}${faces.length > 5 ? ` and ${faces.length - 5} more` : ""}`;
}

/** Draw the picture with its boxes, and a card for each face. */
function draw() {
  const { bitmap, faces } = state.shown;
  $("faces").replaceChildren(...faces.map((face) => card(bitmap, face)));
  $("downloads").hidden = !faces.length;
  if (!bitmap) return;
  $("drop").hidden = true;
  $("picture").hidden = false;
  const { width, height } = Object.assign($("picture"), { width: bitmap.width, height: bitmap.height });
  const context = $("picture").getContext("2d");
  context.fillStyle = "white"; // as the network sees transparent parts
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  // Labels are as large on the screen for every picture.
  const size = (14 * width) / ($("picture").clientWidth || width);
  for (const face of faces) drawBox(context, face, size);
}

/** Draw a box, and its label below the face, so that it hides no hat. */
function drawBox(context, face, size) {
  const [left, top, right, bottom] = face.box;
  const { width, height } = context.canvas;
  Object.assign(context, { strokeStyle: "#00c853", lineWidth: size / 6, font: `${size}px system-ui` });
  context.strokeRect(left, top, right - left, bottom - top);
  const text = `${face.number}: ${label(face)}`;
  const [length, row] = [context.measureText(text).width + size, 1.4 * size];
  const x = Math.max(0, Math.min(left, width - length));
  const y = Math.min(bottom, height - row);
  context.fillStyle = "#00c853";
  context.fillRect(x, y, length, row);
  context.fillStyle = "black";
  context.fillText(text, x + size / 2, y + size);
}

function card(bitmap, face) {
  const article = element("article", "card");
  const bars = element("ul", "bars");
  state.classes.forEach((emotion, i) => {
    const row = element("li", i === best(face) ? "best" : "");
    const meter = element("span", "meter");
    meter.style.setProperty("--value", `${100 * face.probabilities[i]}%`);
    row.append(emotion, meter, element("span", "", { textContent: percent(face.probabilities[i]) }));
    bars.append(row);
  });
  article.append(element("h2", "", { textContent: `Face ${face.number}: ${label(face)}` }));
  article.append(bitmap ? faceCanvas(bitmap, face) : "", bars);
  return article;
}

/** Return a canvas with a face, and over it in orange what speaks for its emotion. */
function faceCanvas(bitmap, { box: [left, top, right, bottom], map }) {
  const canvas = element("canvas", "", { width: 96, height: 96, role: "img", ariaLabel: "The face" });
  const context = canvas.getContext("2d");
  context.filter = "grayscale(1)";
  context.drawImage(bitmap, left, top, right - left, bottom - top, 0, 0, 96, 96);
  context.filter = "none";
  if (!map || !$("overlay").checked) return canvas;
  const side = Math.sqrt(map.length);
  const highest = Math.max(...map, 1e-9);
  const heat = new ImageData(side, side);
  map.forEach((value, i) => heat.data.set([255, 140, 0, (160 * Math.max(value, 0)) / highest], 4 * i));
  const small = new OffscreenCanvas(side, side);
  small.getContext("2d").putImageData(heat, 0, 0);
  context.drawImage(small, 0, 0, 96, 96);
  return canvas;
}

/** Draw the probabilities of the largest face over the last seconds. */
function drawCurve(seconds, faces) {
  const side = ({ box }) => box[2] - box[0];
  const largest = faces.reduce((a, b) => (a && side(a) >= side(b) ? a : b), null);
  state.curve.push({ seconds, probabilities: largest?.probabilities });
  state.curve = state.curve.filter((point) => point.seconds > seconds - CURVE_SECONDS);
  const canvas = $("chart");
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  Object.assign(canvas, { width: width * devicePixelRatio, height: height * devicePixelRatio });
  const context = canvas.getContext("2d");
  context.scale(devicePixelRatio, devicePixelRatio);
  context.font = "12px system-ui";
  const text = getComputedStyle(canvas).color;
  const x = (at) => width - 90 - ((seconds - at) / CURVE_SECONDS) * (width - 130);
  const y = (probability) => height - 25 - probability * (height - 35);
  context.fillStyle = context.strokeStyle = text;
  const line = (color, lineWidth, points) => {
    Object.assign(context, { strokeStyle: color, lineWidth });
    context.beginPath();
    for (const [isStart, ...point] of points) context[isStart ? "moveTo" : "lineTo"](...point);
    context.stroke();
  };
  for (const value of [0, 0.5, 1]) {
    context.fillText(percent(value), 0, y(value) + 4);
    line(text, 0.3, [[true, x(seconds - CURVE_SECONDS), y(value)], [false, x(seconds), y(value)]]);
  }
  for (const ago of [20, 15, 10, 5, 0]) context.fillText(`${ago ? -ago : 0} s`, x(seconds - ago) - 10, height - 5);
  state.classes.forEach((emotion, i) => {
    const color = COLORS[i % COLORS.length];
    const points = state.curve.map(({ seconds, probabilities }, k) =>
      // A line ends where nobody is there.
      probabilities && [!state.curve[k - 1]?.probabilities, x(seconds), y(probabilities[i])],
    );
    line(color, 2, points.filter(Boolean));
    context.fillStyle = color;
    context.fillText(emotion, width - 80, 14 + (i * (height - 30)) / state.classes.length);
  });
}

function saveTable() {
  const quote = (value) => `"${String(value).replaceAll('"', '""')}"`;
  const { shown } = state;
  const items = state.items.length ? state.items : [{ file: { name: shown.file }, ...shown }];
  const rows = items.flatMap(({ file, faces }) =>
    faces.map((face) => [quote(file.name), face.number, ...face.box, face.score.toFixed(4),
      quote(state.classes[best(face)]), ...face.probabilities.map((p) => p.toFixed(4))]),
  );
  const names = ["file", "face", "left", "top", "right", "bottom", "score", "emotion"];
  const lines = [[...names, ...state.classes.map(quote)], ...rows].map((row) => row.join(","));
  save(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }), "faces.csv");
}

function save(blob, name) {
  const link = element("a", "", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
