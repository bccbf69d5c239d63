"""Recommendations over HTTP on this machine: latency of a single one, requests a second, cold start
of the server, and the memory that bodies take which are as large as can be.

    python benchmarks/serving.py [--requests 1000] [--starts 3] [--workers 1,2] [--rounds 3]

Synthetic 1000 x 1000, recipe net 15/25/128 after one epoch and item kNN, each served by `recsweep
serve` with so many workers (one thread each), and by `mlflow models serve`. Each client keeps its
connection and asks for 10 items of one known user at a time; `history` asks for somebody new with 5
liked items. All clients are one thread over plain sockets, which shares the cores with the server.
One client and eight are measured in turn, --rounds times: what is printed are medians, and the
throughput of eight is also given as a multiple of that of one in the same round. Memory is read
from /proc.
"""

import argparse
import http.client
import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep

HOME = os.environ["RECSWEEP_HOME"] = tempfile.mkdtemp(prefix="recsweep-benchmark-")
os.environ.setdefault("OMP_NUM_THREADS", "1")


from recsweep import pipeline
from recsweep.config import composed
from recsweep.processes import cores
from recsweep.tracking import TrackingOptions, finished_runs

BIN = Path(sys.executable).parent


def train(model: str) -> tuple[str, str]:
    """Ids of a run and of its logged model."""
    cfg = composed([f"model={model}", "trainer.max_epochs=1", "trainer.accelerator=cpu"])
    run_id = pipeline.run(cfg).run_id
    return run_id, finished_runs(TrackingOptions(uri=None, experiment="recsweep"), ids=[run_id])[
        0
    ].model_id


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


def command(server: str, run_id: str, model_id: str, port: int) -> list:
    if server.startswith("recsweep serve"):
        words = server.removeprefix("recsweep ").split()
        serve = [sys.executable, "-c", "from recsweep.cli import main; main()"]
        return [*serve, *words, "--run", run_id, "--port", str(port)]
    return [
        BIN / "mlflow",
        "models",
        "serve",
        "-m",
        f"models:/{model_id}",
        "--env-manager",
        "local",
        "-p",
        str(port),
    ]


@contextmanager
def started(server: str, run_id: str, model_id: str):
    """Yields the port, the process id and the seconds until the first answer to a request."""
    port = free_port()
    environment = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{HOME}/mlflow.db",
    }
    start = perf_counter()
    process = subprocess.Popen(
        command(server, run_id, model_id, port),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while True:
            try:
                ask(http.client.HTTPConnection("127.0.0.1", port), [{"user_id": "1", "k": 10}])
                break
            except ConnectionError:
                if process.poll() is not None:
                    raise SystemExit(f"{server} ended with status {process.returncode}.") from None
                sleep(0.02)
        yield port, process.pid, perf_counter() - start
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def ask(connection: http.client.HTTPConnection, requests: list) -> None:
    connection.request(
        "POST",
        "/invocations",
        json.dumps({"inputs": requests}),
        {"Content-Type": "application/json"},
    )
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{answer.status}: {body.decode()}")


def load(port: int, kind: str, clients: int, requests: int) -> tuple[list[float], float]:
    """Seconds of each request, and requests a second of all clients together."""
    bodies = []
    for place in range(requests):
        first = place % 990 + 1
        history = [str(first + i) for i in range(5)]
        who = {"user_id": str(first)} if kind == "user" else {"history": history}
        body = json.dumps({"inputs": [{**who, "k": 10}]})
        bodies.append(
            "POST /invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
    times: list[float] = []
    with selectors.DefaultSelector() as ready:
        for number in range(clients):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ready.register(connection, selectors.EVENT_READ, [number, 0.0, b""])
        start = perf_counter()
        for key in list(ready.get_map().values()):
            key.data[1] = perf_counter()
            key.fileobj.sendall(bodies.pop())
        while len(times) < requests:
            for key, _ in ready.select():
                key.data[2] += (piece := key.fileobj.recv(65536))
                if not piece:
                    raise SystemExit("The server closed a connection.")
                head, end, answer = key.data[2].partition(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                if not end or len(answer) < int(length):
                    continue
                if not head.startswith(b"HTTP/1.1 200"):
                    raise SystemExit(key.data[2].decode())
                times.append(perf_counter() - key.data[1])
                key.data[1:] = perf_counter(), b""
                if bodies:
                    key.fileobj.sendall(bodies.pop())
        seconds = perf_counter() - start
        for key in list(ready.get_map().values()):
            key.fileobj.close()
    return times, requests / seconds


def weigh(model: str, port: int, pid: int) -> None:
    """Print what the server's memory is before, at most during, and after bodies that ask for all
    that may be asked for, and more."""

    def memory(field: str) -> float:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))

    users = [{"user_id": str(user % 1000 + 1)} for user in range(300_000)]
    history = {"history": [str(item + 1) for item in range(90)]}
    bodies = {
        "3.3 million {}": b'{"inputs": [' + b"{}," * 3_299_999 + b"{}]}",
        "300,000 users": json.dumps({"inputs": users}).encode(),
        "10,000 users, k=50": json.dumps(
            {"inputs": [u | {"k": 50} for u in users[:10_000]]}
        ).encode(),
        "10,000 histories of 90": json.dumps(
            {"inputs": [history] * 10_000}, separators=",:"
        ).encode(),
    }
    for name, body in bodies.items():
        before, start, statuses = memory("VmRSS"), perf_counter(), []
        for _ in range(3):
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            statuses.append(answer.status)
        print(
            f"{model}, {name}, {len(body) / 1e6:.1f} MB, three times: {statuses[0]}, "
            f"{(perf_counter() - start) / 3:.2f} s each; memory {before:.0f} MB before, "
            f"{memory('VmRSS'):.0f} MB after, at most {memory('VmHWM'):.0f} MB",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1000, help="of each measurement")
    parser.add_argument("--starts", type=int, default=3, help="of each server, for the cold start")
    parser.add_argument("--rounds", type=int, default=3, help="of each measurement, in turn")
    parser.add_argument("--models", default="recipe_net,item_knn")
    parser.add_argument("--workers", default=f"1,{cores()}", help="of recsweep serve, with commas")
    parser.add_argument("--no-mlflow", action="store_true", help="leave MLflow's server out")
    options = parser.parse_args()

    servers = [f"recsweep serve --workers {number}" for number in options.workers.split(",")]
    if not options.no_mlflow:
        servers.append("mlflow models serve")
    print(f"{cores()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':<54}{'p50 ms':>8}{'p99 ms':>9}{'a second':>10}{'of one':>8}")
    for model in options.models.split(","):
        trained = train(model)
        for server in servers:
            seconds = []
            for last in range(options.starts - 1, -1, -1):
                with started(server, *trained) as (port, pid, cold):
                    seconds.append(cold)
                    if not last:
                        measure(f"{model}, {server}", port, options)
                        if server == servers[0]:
                            weigh(model, port, pid)
            print(
                f"{model}, {server}: {statistics.median(seconds):.1f} s from the command to the "
                f"first answer (median of {options.starts})",
                flush=True,
            )


def measure(name: str, port: int, options: argparse.Namespace) -> None:
    """Print what clients of each kind get."""
    for kind in ("user", "history"):
        found: dict[int, list[tuple[float, float, float]]] = {clients: [] for clients in (1, 8, 32)}
        load(port, kind, 8, 200)
        for _ in range(options.rounds):
            for clients, rounds in found.items():
                times, rate = load(port, kind, clients, options.requests)
                p99 = statistics.quantiles(times, n=100)[98]
                rounds.append((statistics.median(times) * 1e3, p99 * 1e3, rate))
        for clients, rounds in found.items():
            p50, p99, rate = (statistics.median(values) for values in zip(*rounds, strict=True))
            pairs = zip(rounds, found[1], strict=True)
            of_one = statistics.median(several[2] / single[2] for several, single in pairs)
            who = f"{name}, {kind}, {clients} client{'s' * (clients > 1)}"
            print(f"{who:<60}{p50:>7.2f}{p99:>9.2f}{rate:>10.0f}{of_one:>8.2f}", flush=True)


if __name__ == "__main__":
    main()
