"""Measure `fer serve` under load: requests per second, latency, memory, and a stop in the middle.

python -m scripts.load [--seconds 300] prints the table of docs/serving.md. 64 clients post a photo
of 512 x 600 pixels, one after the other, each over one connection. They share the cores with the
server.
"""

import argparse
import http.client
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import matplotlib
import numpy as np

PHOTO = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg").read_bytes()
CLIENTS = 64


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
            if response.status != 200 or b"probabilities" not in body:
                self.failures.append(f"{response.status} {body[:80]!r}")
            self.times.append(time.perf_counter() - start)
            if response.getheader("Connection") == "close":  # the server stops
                return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300)
    seconds = parser.parse_args().seconds
    command = [sys.executable, "-m", "fer", "serve", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    port = int(server.stdout.readline().split()[0].rpartition(":")[2])
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
    columns = ("requests per second", "ms, median", "ms, 99th percentile", "failed")
    print(f"| {' | '.join(columns)} | MB at 10 % | MB at the end |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(
        f"| {len(times) / elapsed:.0f} | {np.median(times):.0f} | {np.percentile(times, 99):.0f} "
        f"| {len(failures)} | {memory[0]:.0f} | {memory[-1]:.0f} |"
    )
    print(f"\n{len(times)} answers; stopped in {stop_seconds:.1f} s: {rest.strip()}")
    for failure in failures[:5]:
        print(failure)


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1000


if __name__ == "__main__":
    main()
