"""Python's pools and processes, at the work of `executors.rs` ("calls") and `starts.rs` ("starts"), which run this
and read what it prints: one JSON object, {measure: {contender: seconds for a call, an item or a byte}}. The first
argument is the part to measure; a second one is contained in the names of the wanted measures.

`pip install loky pebble` adds these two; without them only Python's own pools are measured. Everything here takes
about a minute. Each pool has two workers, which are forked unless a measure says otherwise."""

import concurrent.futures as futures
import importlib.util
import json
import multiprocessing
import os
import statistics
import sys
from functools import partial
from time import perf_counter

WORKERS = 2
BATCH = 3_000
ITEMS = 500_000
CHUNKS = [1_000, 5_000, 25_000]
SIZES = {"echo 64 KiB": 64 << 10, "echo 1 MiB": 1 << 20, "echo 64 MiB": 64 << 20}
METHODS = {"ForkServer": "forkserver", "Spawn": "spawn", "Fork": "fork"}


def noop():
    pass


def echo(data):
    return data


def add_one(x):
    return x + 1


class Futures:
    """What the pools of `concurrent.futures` and loky have in common."""

    def __init__(self, pool):
        self.pool = pool

    def submit(self, function, *args):
        return self.pool.submit(function, *args).result

    def map(self, function, items, chunk):
        return self.pool.map(function, items, chunksize=chunk)

    def stop(self):
        self.pool.shutdown()


class Executor(Futures):
    name = "Python Executor"

    def __init__(self, method="fork"):
        context = multiprocessing.get_context(method)
        super().__init__(futures.ProcessPoolExecutor(WORKERS, mp_context=context))


class Loky(Futures):
    name = "loky"

    def __init__(self):
        import loky

        super().__init__(loky.ProcessPoolExecutor(WORKERS))


class Pool:
    name = "Python Pool"

    def __init__(self, method="fork"):
        self.pool = multiprocessing.get_context(method).Pool(WORKERS)

    def submit(self, function, *args):
        return self.pool.apply_async(function, args).get

    def map(self, function, items, chunk):
        return self.pool.map(function, items, chunk)

    def stop(self):
        self.pool.close()
        self.pool.join()


class Pebble:
    name = "pebble"

    def __init__(self, method="fork"):
        import pebble

        context = multiprocessing.get_context(method)
        self.pool = pebble.ProcessPool(WORKERS, context=context)

    def submit(self, function, *args):
        return self.pool.schedule(function, args=args).result

    def map(self, function, items, chunk):
        return self.pool.map(function, items, chunksize=chunk).result()

    def stop(self):
        self.pool.close()
        self.pool.join()


def timed(do):
    start = perf_counter()
    do()
    return perf_counter() - start


def median(times, do):
    return statistics.median(timed(do) for _ in range(times))


def many_submits(peer):
    for result in [peer.submit(noop) for _ in range(BATCH)]:
        result()


def add_one_to_all(peer, chunk):
    assert sum(peer.map(add_one, range(ITEMS), chunk)) == ITEMS * (ITEMS + 1) // 2


def echoed(peer, size, times):
    data = bytes(size)
    return median(times, lambda: peer.submit(echo, data)()) / size


def measures(contender):
    """What is measured of a pool that has started, and how."""
    peer = contender()
    peer.submit(noop)()
    yield "round trip", lambda: median(1000, lambda: peer.submit(noop)())
    yield "many submits", lambda: median(3, lambda: many_submits(peer)) / BATCH
    yield "map", lambda: min(timed(partial(add_one_to_all, peer, chunk)) for chunk in CHUNKS) / ITEMS
    for name, size in SIZES.items():
        times = 3 if size > 1 << 20 else 100
        yield name, lambda: echoed(peer, size, times)
    peer.stop()


def on_one_cpu(contender):
    """The round trip, and an echo, with the pool and this process on one CPU."""
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(everywhere)])
    peer = contender()
    peer.submit(noop)()
    yield "round trip, one CPU", lambda: median(1000, lambda: peer.submit(noop)())
    yield "echo 64 KiB, one CPU", lambda: echoed(peer, 64 << 10, 100)
    peer.stop()
    os.sched_setaffinity(0, everywhere)


def cold_start(contender):
    start = perf_counter()
    peer = contender()
    peer.submit(noop)()
    elapsed = perf_counter() - start
    peer.stop()
    return elapsed


def run_process(context):
    process = context.Process(target=noop)
    process.start()
    process.join()


def starts(contenders):
    """{measure: {start method: how to measure it}}. Loky has a start method of its own."""
    table = {}
    for contender in contenders:
        ways = {"only way": contender}
        if contender is not Loky:
            ways = {shown: partial(contender, method) for shown, method in METHODS.items()}
        table[f"first result, {contender.name}"] = {
            way: partial(median_of_starts, start) for way, start in ways.items()
        }
    table["start to join, Python Process"] = {
        shown: partial(median, 10, partial(run_process, multiprocessing.get_context(method)))
        for shown, method in METHODS.items()
    }
    return table


def median_of_starts(start):
    return statistics.median(cold_start(start) for _ in range(5))


def main():
    what = sys.argv[1]
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    contenders = [Pool, Executor]
    contenders += [Loky] if importlib.util.find_spec("loky") else []
    contenders += [Pebble] if importlib.util.find_spec("pebble") else []
    table = {}
    if what == "starts":
        for measure, ways in starts(contenders).items():
            if wanted in measure:
                print(f"{measure} ...", file=sys.stderr)
                table[measure] = {way: seconds() for way, seconds in ways.items()}
    else:
        for contender in contenders:
            print(f"{contender.name} ...", file=sys.stderr)
            for work in (on_one_cpu, measures):
                for measure, seconds in work(contender):
                    if wanted in measure:
                        table.setdefault(measure, {})[contender.name] = seconds()
    print(json.dumps(table))


if __name__ == "__main__":
    main()
