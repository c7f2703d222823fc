// Build the static page in dist/ from page/, the runtime in node_modules/ and the graphs in models/,
// which `fer export --whole` has written. Any static host can serve dist/.

import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import protobuf from "protobufjs";

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");
const runtime = join(here, "node_modules/onnxruntime-web/dist");
const found = existsSync(join(here, "models")) ? readdirSync(join(here, "models")) : [];
const order = ["nano", "small", "base", "large"];
const models = found
  .filter((name) => name.endsWith(".onnx"))
  .map((name) => name.slice(0, -".onnx".length))
  .sort((a, b) => order.indexOf(a) - order.indexOf(b));
if (!models.length || !existsSync(runtime)) {
  console.error("error: demo/models or demo/node_modules is empty; run make demo");
  process.exit(1);
}

rmSync(dist, { recursive: true, force: true });
cpSync(join(here, "page"), dist, { recursive: true, dereference: true });
for (const name of ["engine.js", "worker.js"]) cpSync(join(here, name), join(dist, name));
for (const folder of ["ort", "models"]) mkdirSync(join(dist, folder));
// The build for the processor alone, half as large as those for GPUs. Some hosts serve .mjs as text.
cpSync(join(runtime, "ort.wasm.bundle.min.mjs"), join(dist, "ort/ort.js"));
const sizes = { "ort/ort.wasm.gz": pack(join(runtime, "ort-wasm-simd-threaded.wasm"), "ort/ort.wasm.gz") };
for (const model of models) {
  sizes[`models/${model}.onnx.gz`] = pack(join(here, `models/${model}.onnx`), `models/${model}.onnx.gz`);
}
const { classes, warning } = readMetadata(readFileSync(join(here, `models/${models[0]}.onnx`)));
writeFileSync(join(dist, "models/index.json"), JSON.stringify({ models, sizes, classes, warning }));

// The service worker keeps all files but the larger models.
const files = readdirSync(dist, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name).slice(dist.length + 1).replaceAll("\\", "/"))
  .filter((name) => !models.slice(1).some((model) => name === `models/${model}.onnx.gz`));
const hash = createHash("sha256");
for (const name of files) hash.update(name).update(readFileSync(join(dist, name)));
const constants = { VERSION: `fer-${hash.digest("hex").slice(0, 12)}`, FILES: ["./", ...files] };
const lines = Object.entries(constants).map(([name, value]) => `const ${name} = ${JSON.stringify(value)};\n`);
writeFileSync(join(dist, "sw.js"), lines.join("") + readFileSync(join(here, "sw.js")));

/** Compress a file; worker.js unpacks it, since many hosts do not compress. Return the bytes. */
function pack(source, target) {
  const packed = gzipSync(readFileSync(source), { level: 9 });
  writeFileSync(join(dist, target), packed);
  return packed.length;
}

/** Read the metadata of an ONNX file: all but the checksum are JSON. */
function readMetadata(bytes) {
  const { root } = protobuf.parse(`syntax = "proto3";
    message Model { repeated Entry entries = 14; }
    message Entry { string key = 1; string value = 2; }`);
  const { entries } = root.lookupType("Model").decode(bytes);
  const texts = entries.filter(({ key }) => key !== "sha256");
  return Object.fromEntries(texts.map(({ key, value }) => [key, JSON.parse(value)]));
}
