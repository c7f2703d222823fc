"""Measure `fer serve` under load: requests per second, latency, memory, and a stop in the middle.

    python -m venv FER && FER/bin/pip install fer fastapi uvicorn
    python -m scripts.load [--seconds 300] [--fer FER/bin/python]

prints the table of docs/serving.md. 64 clients post a photo of 512 x 600 pixels, one after the
other, each over one connection. They share the cores with the server. `--fer` adds a server of
PyPI's package `fer`, in FastAPI.
"""

import argparse
import http.client
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import matplotlib
import numpy as np

PHOTO = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg").read_bytes()
CLIENTS = 64

FER = """
import cv2, numpy, threading, uvicorn
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fer.fer import FER
app, detector, lock = FastAPI(), FER(), threading.Lock()

def detect(body):
    image = cv2.imdecode(numpy.frombuffer(body, numpy.uint8), cv2.IMREAD_COLOR)
    with lock:  # its interpreter fails in several threads
        faces = detector.detect_emotions(image)
    return [{"box": [int(n) for n in face["box"]], "emotions": face["emotions"]} for face in faces]

@app.post("/predict")
async def predict(request: Request):
    return await run_in_threadpool(detect, await request.body())

class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print("http://127.0.0.1:%d" % self.servers[0].sockets[0].getsockname()[1], flush=True)

Server(uvicorn.Config(app, port=0, log_level="error")).run()
"""


class Client(threading.Thread):
    """Posts the photo until the server stops; `failures` are requests without an answer of 200."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.times: list[float] = []
        self.failures: list[str] = []
        self.is_stopping = False

    def run(self) -> None:
        """Post the photo again and again."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while True:
            start = time.perf_counter()
            try:
                connection.request("POST", "/predict", PHOTO)
                response = connection.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                if not self.is_stopping:
                    self.failures.append(repr(error))
                return
            if response.status != 200 or b"happy" not in body.lower():
                self.failures.append(f"{response.status} {body[:80]!r}")
            self.times.append(time.perf_counter() - start)
            if response.getheader("Connection") == "close":  # the server stops
                return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--fer", help="the Python of an environment with PyPI's fer")
    arguments = parser.parse_args()
    columns = ("requests per second", "ms, median", "ms, 99th percentile", "failed")
    print(f"| server | {' | '.join(columns)} | MB at 10 % | MB at the end |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    servers = {"fer serve": [sys.executable, "-m", "fer", "serve", "--port", "0"]}
    if arguments.fer:
        servers["PyPI's fer in FastAPI"] = [arguments.fer, "-c", FER]
    for name, command in servers.items():
        measure(name, command, arguments.seconds)


def measure(name: str, command: list[str], seconds: float) -> None:
    """Start a server, and print its row of the table."""
    with tempfile.TemporaryDirectory() as folder:  # where no other `fer` lies
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
        port = int(server.stdout.readline().split()[0].rpartition(":")[2])
        load(name, server, port, seconds)


def load(name: str, server: subprocess.Popen, port: int, seconds: float) -> None:
    clients = [Client(port) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    memory = []
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        time.sleep(seconds / 10)
        memory.append(resident_mb(server.pid))
    for client in clients:
        client.is_stopping = True
    server.send_signal(signal.SIGTERM)
    stopping = time.perf_counter()
    rest = server.communicate(timeout=60)[0]
    stop_seconds = time.perf_counter() - stopping
    for client in clients:
        client.join()
    elapsed = time.perf_counter() - start
    times = 1000 * np.concatenate([client.times for client in clients])
    failures = [failure for client in clients for failure in client.failures]
    median, late = np.median(times), np.percentile(times, 99)
    print(
        f"| {name} | {len(times) / elapsed:.0f} | {median:.0f} | {late:.0f} | {len(failures)} "
        f"| {memory[0]:.0f} | {memory[-1]:.0f} |"
    )
    print(f"{len(times)} answers; stopped in {stop_seconds:.1f} s {rest.strip()}", file=sys.stderr)
    for failure in failures[:5]:
        print(failure, file=sys.stderr)


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1000


if __name__ == "__main__":
    main()
