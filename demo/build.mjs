// Copy the page, the runtime and the models into dist/, which any static host can serve.
//
// node build.mjs [MODEL]   MODEL: nano, small, base, large, or an ONNX file of stage quantize. The page
//                          compares int8 with the float32 file beside it.

import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const released = ["nano", "small", "base", "large"];
const name = process.argv[2] || "nano";
const model = released.includes(name) ? join(here, `../fer/weights/${name}.int8.onnx`) : name;
const float32 = model.replace(/nano\.int8\.onnx$/, "nano.float32.onnx").replace(/fer\.int8\.onnx$/, "fer.onnx");
const runtime = join(here, "node_modules/onnxruntime-web/dist");
const dist = join(here, "dist");

const files = {
  ...Object.fromEntries(
    [
      ...["index.html", "style.css", "app.js", "client.js", "worker.js", "pillow.js"],
      ...["detector.js", "classifier.js", "tracker.js", "webp.js", "examples"],
    ].map((name) => [name, join(here, name)]),
  ),
  // The build for the processor alone, which is half as large as those for GPUs.
  ...Object.fromEntries(
    ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"].map(
      (name) => [`ort/${name}`, join(runtime, name)],
    ),
  ),
  "models/yunet.onnx": join(here, "../fer/images/yunet.onnx"),
};
if (!statSync(model, { throwIfNoEntry: false })?.isFile()) {
  console.error(`error: ${model}: no such file; name nano, small, base, large or an ONNX file`);
  process.exit(1);
}
const isInt8 = readFileSync(model).includes("QuantizeLinear");
const models = [isInt8 ? "int8" : "float32"];
files[`models/${models[0]}.onnx`] = model;
if (isInt8 && float32 !== model && existsSync(float32)) {
  models.push("float32");
  files["models/float32.onnx"] = float32;
}

for (const source of Object.values(files)) {
  if (!existsSync(source)) {
    console.error(`error: ${source}: no such file; check the name, or run npm install`);
    process.exit(1);
  }
}
rmSync(dist, { recursive: true, force: true });
for (const [target, source] of Object.entries(files)) {
  mkdirSync(dirname(join(dist, target)), { recursive: true });
  cpSync(source, join(dist, target), { recursive: true });
}
writeFileSync(join(dist, "models/index.json"), JSON.stringify(models));
