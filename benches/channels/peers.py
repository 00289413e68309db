"""Python's `multiprocessing` at the work of `../multiprocessing.rs`, which runs this and reads what it prints: one JSON
object, {measure: {contender: seconds for an item or a byte}}. An argument is contained in the names of the wanted
measures. The peer is forked."""

import json
import multiprocessing
import statistics
import sys
from time import perf_counter

SAMPLES = 9
SIZES = {"small": 0, "64 KiB": 64 << 10, "1 MiB": 1 << 20}
ROUND_TRIPS = {"small": 2_000, "64 KiB": 300, "1 MiB": 50}
FLOOD = {"small": 20_000, "64 KiB": 1_000, "1 MiB": 100}

context = multiprocessing.get_context("fork")


def is_last(item):
    return item == 0 or item == b""


def serve(role, ends):
    send, receive = ends
    while True:
        item = receive()
        if item is None:
            return
        if role == "echo" or is_last(item):
            send(item)


class Queue:
    name = "Python Queue"

    def __init__(self, role):
        to = context.Queue()
        back = to if role == "nobody" else context.Queue()
        self.send, self.receive = to.put, back.get
        self.peer = None
        if role != "nobody":
            self.peer = context.Process(target=serve, args=(role, (back.put, to.get)), daemon=True)
            self.peer.start()

    def stop(self):
        if self.peer:
            self.send(None)
            self.peer.join()


class Pipe:
    name = "Python Pipe"

    def __init__(self, role):
        ours, theirs = context.Pipe()
        self.send, self.receive = ours.send, (theirs if role == "nobody" else ours).recv
        self.peer = None
        if role != "nobody":
            ends = (theirs.send, theirs.recv)
            self.peer = context.Process(target=serve, args=(role, ends), daemon=True)
            self.peer.start()
            theirs.close()

    def stop(self):
        if self.peer:
            self.send(None)
            self.peer.join()


CHANNELS = [Queue, Pipe]


def median(run, times):
    run(times)
    samples = []
    for _ in range(SAMPLES):
        start = perf_counter()
        run(times)
        samples.append((perf_counter() - start) / times)
    return statistics.median(samples)


def round_trips(channel, item):
    def run(times):
        for _ in range(times):
            channel.send(item)
            channel.receive()

    return run


def flood(channel, item):
    last = 0 if isinstance(item, int) else b""

    def run(times):
        for _ in range(times - 1):
            channel.send(item)
        channel.send(last)
        assert is_last(channel.receive())

    return run


def measures():
    yield "one process", "nobody", "small", round_trips, ROUND_TRIPS
    for size in SIZES:
        yield f"round trip, {size}", "echo", size, round_trips, ROUND_TRIPS
    for size in SIZES:
        yield f"one way, {size}", "sink", size, flood, FLOOD


def main():
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    table = {}
    for name, role, size, work, times in measures():
        if wanted not in name:
            continue
        for Channel in CHANNELS:
            channel = Channel(role)
            item = bytes(b"\x07" * SIZES[size]) if SIZES[size] else 7
            seconds = median(work(channel, item), times[size])
            channel.stop()
            per = SIZES[size] if work is flood and SIZES[size] else 1
            table.setdefault(name, {})[Channel.name] = seconds / per
    print(json.dumps(table))


main()
