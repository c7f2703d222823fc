"""Compare packages that bring their weights, in one harness with a process for each.

    python -m venv FER && FER/bin/pip install fer
    npm install --prefix JS @vladmandic/face-api @tensorflow/tfjs @tensorflow/tfjs-backend-wasm
    python -m scripts.compare --fer FER/bin/python --face-api JS

prints the first columns of docs/comparison.md, from FER2013's test faces in data/fer2013/test. Each
package gets the faces of 48 x 48 pixels one after the other, with one thread.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fer import faces
from fer.errors import FerError, exit_on_error

OURS = """
import json, sys, time
import numpy as np
images = np.load(sys.argv[1])
from fer import Recognizer
recognizer = Recognizer(*sys.argv[2:], threads=1)
def predict(image):
    return recognizer.predict(image, face=True)[0].probabilities
"""

FER = """
import json, sys, time
import numpy as np
images = np.load(sys.argv[1])
from fer.fer import FER
recognizer = FER()
def predict(image):
    middle = (10, 10, len(image) - 20, len(image) - 20)  # to which it adds 10 pixels on each side
    (face,) = recognizer.detect_emotions(np.dstack([image] * 3), [middle])
    return face["emotions"]
"""

RUN = """
predict(images[0])
print(json.dumps("first"), flush=True)
predictions, seconds = [], []
for image in images:
    start = time.perf_counter()
    predictions.append(predict(image))
    seconds.append(time.perf_counter() - start)
print(json.dumps({"predictions": predictions, "ms": 1000 * float(np.median(seconds))}))
"""

FACE_API = """
import fs from 'fs'; import { createRequire } from 'module';
const require = createRequire(process.argv[3] + '/');
const tf = require('@tensorflow/tfjs'); require('@tensorflow/tfjs-backend-wasm');
const api = require('@vladmandic/face-api/dist/face-api.node-wasm.js');
await tf.setBackend('wasm'); await tf.ready();
const home = require.resolve('@vladmandic/face-api/package.json');
await api.nets.faceExpressionNet.loadFromDisk(home.replace('package.json', 'model'));
const bytes = fs.readFileSync(process.argv[2]); const side = 48;
async function predict(at) {
  const grey = tf.tensor3d(new Uint8Array(bytes.buffer, bytes.byteOffset + at, side * side),
    [side, side, 1], 'int32');
  const image = tf.tile(grey, [1, 1, 3]);
  const result = await api.nets.faceExpressionNet.predictExpressions(image);
  tf.dispose([grey, image]);
  return Object.fromEntries(result.asSortedArray().map((e) => [e.expression, e.probability]));
}
const start = bytes.length % (side * side);  // the header of NumPy's file
await predict(start); console.log(JSON.stringify('first'));
const predictions = [], ms = [];
for (let at = start; at < bytes.length; at += side * side) {
  const begin = performance.now();
  predictions.push(await predict(at)); ms.push(performance.now() - begin);
}
ms.sort((a, b) => a - b);
console.log(JSON.stringify({ predictions, ms: ms[Math.floor(ms.length / 2)] }));
"""

SIZE = """
import re, sys
from importlib import metadata
from packaging.requirements import Requirement
sizes = {}
def add(name):
    name = re.sub("[-_.]+", "-", name).lower()
    try:
        package = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return  # which an extra or another system needs
    if name not in sizes:
        files = [file.locate() for file in package.files or []]
        sizes[name] = sum(file.stat().st_size for file in files if file.is_file())
        for line in package.requires or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                add(needed.name)
add(sys.argv[1])
print(sum(sizes.values()))
"""

STEMS = ("ang", "disg", "fear", "hap", "sad", "surp", "neut")
"""First letters of the emotions in every package, in the order of FER2013's labels."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fer", type=Path, help="the Python of an environment with PyPI's fer")
    parser.add_argument("--face-api", type=Path, help="the folder of npm's packages")
    parser.add_argument("--faces", type=int, help="number of faces; all by default")
    arguments = parser.parse_args()
    test = faces.load(Path("data/fer2013/test"))
    count = arguments.faces or len(test)
    images, labels = np.asarray(test.images[:count]), np.asarray(test.labels[:count])
    print("| | accuracy | ms per face | seconds to the first prediction | MB installed |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        file, script = Path(folder) / "faces.npy", Path(folder) / "run.mjs"
        np.save(file, images)
        script.write_text(FACE_API)
        ours = [sys.executable, "-c", OURS + RUN, file]
        commands = {f"this package, {model}": [*ours, model] for model in ("float32", "int8")}
        sizes = dict.fromkeys(commands, python_size(sys.executable, "fer-pipeline"))
        if arguments.fer:
            commands["PyPI's fer"] = [arguments.fer, "-c", FER + RUN, file]
            sizes["PyPI's fer"] = python_size(arguments.fer, "fer")
        if arguments.face_api:
            commands["@vladmandic/face-api"] = ["node", script, file, arguments.face_api.absolute()]
            files = arguments.face_api.rglob("*")
            sizes["@vladmandic/face-api"] = sum(
                file.stat().st_size for file in files if file.is_file()
            )
        for name, command in commands.items():
            predictions, ms, first = run(command, folder)
            accuracy = np.mean([label_of(emotions) for emotions in predictions] == labels)
            row = (f"{accuracy:.2%}", f"{ms:.2f}", f"{first:.1f}", f"{sizes[name] / 1e6:.0f}")
            print(f"| {name} | {' | '.join(row)} |", flush=True)


def python_size(python: str | Path, package: str) -> int:
    """Return the bytes of a package and of its dependencies."""
    command = [str(python), "-c", SIZE, package]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def run(command: list, folder: str) -> tuple[list[dict[str, float]], float, float]:
    """Return the predictions, the ms per face, and the seconds to the first prediction."""
    start = time.perf_counter()
    errors = Path(folder) / "errors.txt"
    with errors.open("w") as file:
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=folder,  # where no other `fer` lies
            env=os.environ | {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    first, result = 0.0, None
    for line in process.stdout or ():
        if line.startswith('"first"'):
            first = time.perf_counter() - start
        elif line.startswith('{"predictions"'):
            result = json.loads(line)
    if process.wait() or result is None:
        raise FerError(f"{command[0]}: {errors.read_text().strip().splitlines()[-1]}")
    return result["predictions"], result["ms"], first


def label_of(emotions: dict[str, float]) -> int:
    best = max(emotions, key=lambda name: emotions[name]).lower()
    return next(label for label, stem in enumerate(STEMS) if best.startswith(stem))


if __name__ == "__main__":
    exit_on_error(main)
