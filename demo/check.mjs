// Drive the built page in a headless Chromium and print what it finds, as JSON; for tests/test_demo.py.
//
// node check.mjs URL CHROMIUM FOLDER VIDEO DAMAGED PICTURE...   FOLDER receives screenshots

import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { chromium } from "playwright-core";

const [url, executablePath, folder, video, damaged, ...pictures] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
});
const page = await browser.newPage({ viewport: { width: 1000, height: 900 } });
const [errors, foreign] = [[], []];
page.on("pageerror", (error) => errors.push(error.message));
page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
page.on("request", (request) => {
  if (!/^(blob:|data:)/.test(request.url()) && !request.url().startsWith(url)) {
    foreign.push(request.url());
  }
});
// The permission to use the camera takes a moment.
await page.addInitScript(() => {
  window.tracks = [];
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (options) => {
    await new Promise((resolve) => setTimeout(resolve, 500));
    const stream = await ask(options);
    window.tracks.push(...stream.getTracks());
    return stream;
  };
});
await page.goto(url);
await status(/Ready/);

const results = {};
for (const picture of pictures) {
  const bytes = readFileSync(picture).toString("base64");
  results[basename(picture)] = await page.evaluate(async (base64) => {
    const client = await import("./client.js");
    await client.load("int8");
    await client.load("float32");
    const blob = await (await fetch(`data:image/*;base64,${base64}`)).blob();
    const { faces } = await client.predict(await client.decode(blob), ["int8", "float32"]);
    return faces.map(({ box, int8, float32 }) => ({
      box,
      int8: int8.probabilities,
      float32: float32.probabilities,
    }));
  }, bytes);
}

// With the keyboard alone: an example, then both precisions side by side.
const texts = {};
await page.locator(".example").last().focus();
await page.keyboard.press("Enter");
texts.example = await status(/faces?:/);
await page.screenshot({ path: join(folder, "photo.png"), fullPage: true });
await page.locator("#compare").focus();
await page.keyboard.press("Space");
await page.locator(".percent", { hasText: "/" }).first().waitFor();
texts.numbers = await page.locator("#numbers").textContent();

// The last click counts, although a large picture takes longer than a small one.
await page.locator("#file").setInputFiles(pictures.find((path) => path.includes("in_large")));
await page.locator(".example").first().click();
await page.waitForTimeout(3000);
texts.lastClick = await page.locator("#status").textContent();

await page.locator("#file").setInputFiles(pictures.find((path) => path.includes("in_large")));
await page.keyboard.press("Escape"); // while it looks for faces
await page.waitForTimeout(3000);
texts.stoppedPhoto = await page.locator("#status").textContent();

await page.locator("#file").setInputFiles(pictures[0]);
texts.file = await status(/face/);
await page.locator("#file").setInputFiles({
  name: "broken.jpg",
  mimeType: "image/jpeg",
  buffer: Buffer.from("no picture"),
});
texts.broken = await status(/cannot be read/);
texts.facesOfBroken = await page.locator("article").count();

await page.locator("#file").setInputFiles(video);
await page.locator("h2", { hasText: "Face 0: Happy" }).waitFor({ timeout: 30_000 });
await page.waitForTimeout(1000);
texts.hasCurve = await page.evaluate(() => {
  const chart = document.getElementById("chart");
  const { data } = chart.getContext("2d").getImageData(0, 0, chart.width - 110, chart.height);
  return data.some((value) => value > 0);
});
await page.screenshot({ path: join(folder, "video.png"), fullPage: true });
await status(/has ended/);
await page.locator("#compare").click(); // off
await page.locator("#numbers").filter({ hasNotText: "float32" }).waitFor();
await page.locator("#compare").click();
await page.locator("#numbers").filter({ hasText: "float32" }).waitFor();
texts.comparedAfterVideo = await page.locator("article").count();

await page.locator("#file").setInputFiles(video);
await page.keyboard.press("Escape"); // while it starts
await page.waitForTimeout(500);
texts.stopped = await page.locator("#status").textContent();
await page.locator("#file").setInputFiles(damaged);
texts.damaged = await status(/cannot be played/);

await page.locator("#camera").click();
await page.keyboard.press("Escape"); // while the permission is asked for
await page.locator("#camera").click();
await page.locator("#camera").click();
await page.locator(".example").first().click();
await page.waitForTimeout(2000);
texts.afterCameras = await page.locator("#status").textContent();
texts.liveTracks = await page.evaluate(
  () => window.tracks.filter((track) => track.readyState === "live").length,
);

await page.locator("#camera").click(); // Chromium's own test picture has no face
texts.camera = await status(/No face found/);
await page.waitForTimeout(1500);
await page.screenshot({ path: join(folder, "camera.png"), fullPage: true });
await page.keyboard.press("Escape");
texts.isStopped = await page.locator("#stop").isHidden();

await page.setViewportSize({ width: 320, height: 740 });
await page.locator(".example").first().click();
await status(/1 face:/);
texts.overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
await page.screenshot({ path: join(folder, "phone.png"), fullPage: true });
await browser.close();
console.log(JSON.stringify({ results, texts, errors, foreign }));

/** Wait until the status line matches; return it. */
async function status(pattern) {
  const line = page.locator("#status").filter({ hasText: pattern });
  await line.waitFor({ timeout: 30_000 });
  return line.textContent();
}
