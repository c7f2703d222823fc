// Drive the built page in a headless browser and print what it finds, as JSON; for tests/test_demo.py.
//
// node check.mjs URL BROWSER FOLDER VIDEO PICTURE...   BROWSER: a path of Chromium or Firefox;
//                                                      FOLDER receives screenshots

import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import puppeteer from "puppeteer-core";

const [url, executablePath, folder, ...files] = process.argv.slice(2);
const [video, ...pictures] = files;
const isFirefox = executablePath.includes("firefox");
const browser = await puppeteer.launch({
  executablePath,
  browser: isFirefox ? "firefox" : "chrome",
  args: isFirefox ? [] : ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
  extraPrefsFirefox: { "media.navigator.streams.fake": true, "media.navigator.permission.disabled": true },
});
const page = await browser.newPage();
await page.setViewport({ width: 1000, height: 900 });
const [errors, foreign, texts] = [[], [], {}];
page.on("pageerror", (error) => errors.push(error.message));
page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
page.on("request", (request) => /^(blob:|data:)/.test(request.url()) || request.url().startsWith(url) || foreign.push(request.url()));
// The permission to use the camera takes a moment.
await page.evaluateOnNewDocument(() => {
  window.tracks = [];
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (options) => {
    await new Promise((resolve) => setTimeout(resolve, 500));
    const stream = await ask(options);
    window.tracks.push(...stream.getTracks());
    return stream;
  };
});
await page.goto(url, { waitUntil: "domcontentloaded" });
if (files.length > 2) texts.progress = await status(" MB");
await status("Ready");
if (files.length === 2) { // two photos, for the page of a server
  const looks = {};
  for (const [i, name] of ["photo", "tiff"].entries()) {
    await open(files[i]);
    const text = await status(i ? "1 face.*server" : "1 face");
    looks[name] = [text, ...(await page.evaluate(seen))];
  }
  await browser.close();
  console.log(JSON.stringify(looks));
  process.exit();
}

const results = {};
for (const picture of pictures) {
  const base64 = readFileSync(picture).toString("base64");
  results[basename(picture)] = await page.evaluate(async (base64) => {
    const { predict } = await import("./engine.js");
    const blob = await (await fetch(`data:image/*;base64,${base64}`)).blob();
    const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
    const faces = await predict(await createImageBitmap(blob, options), null, "nano");
    return faces.map(({ box, probabilities }) => ({ box, probabilities }));
  }, base64);
}

// With the keyboard alone: each stop shows its focus; then an example.
texts.tabs = [];
for (let i = 0; i < 9; i++) {
  await page.keyboard.press("Tab");
  texts.tabs.push(await page.evaluate(() => {
    const { id, tagName, parentNode } = document.activeElement;
    return [id || parentNode.id || tagName, getComputedStyle(document.activeElement).outlineWidth];
  }));
}
await page.focus("#examples > :last-child");
await page.keyboard.press("Enter");
texts.example = await status("faces?:");
await look("photo");
await page.select("#model", "small");
texts.small = await status("faces?:");

// The last click counts, although a large picture takes longer than a small one.
const large = pictures.find((path) => path.includes("in_large"));
await open(large);
await click("#examples button");
texts.lastClick = await status("1 face: ");
await open(large);
await page.keyboard.press("Escape"); // while it looks for faces
await wait(3000);
texts.stoppedPhoto = await status("");

// A gallery, with a file that is no picture; then that file alone, and a HEIC photo.
await open(pictures[0], join(import.meta.dirname, "check.mjs"), large);
texts.gallery = await status("photos,");
await look("gallery");
texts.thumbs = await page.$$eval("#gallery button", (all) => all.map((each) => each.textContent));
await click("#gallery button:nth-child(2)");
texts.broken = await status("cannot be read");
texts.afterBroken = await page.evaluate(seen);
await look("error");
await page.evaluate(() => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File(["no photo"], "a.heic"));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer, cancelable: true }));
});
texts.heic = await status("HEIC");

await open(video);
texts.video = await status("1 face: Happy");
await look("video");
await status("has ended");
await page.select("#model", "nano");

await click("#camera");
await page.keyboard.press("Escape"); // while the permission is asked for
await click("#camera");
await click("#camera");
await click("#examples button");
await wait(2000);
texts.afterCameras = await status("1 face: ");
texts.liveTracks = await page.evaluate(() => window.tracks.filter((track) => track.readyState === "live").length);
await click("#camera"); // the browser's own test picture has no face
texts.camera = await status("No face found");
texts.hasChart = await page.$eval("#chart", (chart) => chart.checkVisibility() && chart.width > 0);
await look("camera");
await page.keyboard.press("Escape");
texts.isStopped = await page.$eval("#camera", (camera) => camera.textContent === "Camera");

await page.setViewport({ width: 390, height: 844 });
await click("#examples button");
await status("1 face:");
texts.phone = await page.evaluate(() => ({
  overflow: document.documentElement.scrollWidth - innerWidth,
  pictureEnds: document.getElementById("picture").getBoundingClientRect().bottom,
}));
await look("phone");

await page.evaluate(() => navigator.serviceWorker.ready.then(() => true));
if (!isFirefox) { // whose driver cannot cut the connection
  await page.setOfflineMode(true);
  await page.reload();
  texts.offline = await status("Ready");
}
await browser.close();
console.log(JSON.stringify({ results, texts, errors, foreign }));

/** Wait until the status line contains a text or matches a pattern; return it. */
async function status(pattern) {
  const has = (pattern) => new RegExp(pattern).test(document.getElementById("status").textContent);
  const waited = page.waitForFunction(has, { timeout: 60_000 }, pattern);
  await waited.catch((error) => console.error(pattern, errors, error.message));
  return page.$eval("#status", (line) => line.textContent);
}

/** Return the number of cards, and whether there is a picture. */
function seen() {
  return [document.querySelectorAll(".card").length, document.getElementById("picture").checkVisibility()];
}

async function open(...paths) {
  await (await page.$("#file")).uploadFile(...paths);
}

/** Click as a program: a mouse would miss what moves. */
async function click(selector) {
  await page.$eval(selector, (element) => element.click());
}

/** Take a screenshot, and note what axe finds wrong. */
async function look(name) {
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
  await page.evaluate(readFileSync(join(import.meta.dirname, "node_modules/axe-core/axe.min.js"), "utf8"));
  const violations = await page.evaluate(async () => (await window.axe.run()).violations.map(({ id, nodes }) => [id, nodes[0].html]));
  (texts.axe ??= []).push(...violations);
}
