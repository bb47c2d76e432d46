"""huey on SQLite under the load of the benchmark: see benches/README.md for what each phase is."""

import argparse
import json
import logging
import os
import sqlite3
import threading
import time

import huey as library
from huey import SqliteHuey
from huey.storage import SqliteStorage

LEVELS = {"FULL": 2, "NORMAL": 1}


def main():
    arguments = parse()
    level = LEVELS[arguments.durability]
    payload = "x" * 100

    queue, _ = make(arguments, "singles.db", level)
    started = time.perf_counter()
    # One submitter: with several, each would wait for the file's lock.
    for _ in range(arguments.singles):
        queue.noop(payload)
    single_rate = arguments.singles / (time.perf_counter() - started)
    queue.storage.close()

    queue, ran = make(arguments, "jobs.db", level)
    # The library has no bulk enqueue: each job is a transaction of its own.
    started = time.perf_counter()
    for _ in range(arguments.jobs):
        queue.noop(payload)
    enqueued = time.perf_counter() - started

    consumer = queue.create_consumer(
        workers=arguments.workers, worker_type="thread", periodic=False, initial_delay=0.001, max_delay=0.001,
        check_worker_health=False)
    started = time.perf_counter()
    consumer.start()
    while ran.count < arguments.jobs:
        if time.perf_counter() - started > 600:
            raise SystemExit(f"error: only {ran.count} of {arguments.jobs} jobs ran")
        time.sleep(0.002)
    worked = time.perf_counter() - started
    consumer.stop(graceful=True)
    left = queue.storage.queue_size()
    if left or ran.count != arguments.jobs:
        raise SystemExit(f"error: {ran.count} attempts ran for {arguments.jobs} jobs, and {left} are left")
    settings = queue.storage.settings()
    if settings != (level, "wal"):
        raise SystemExit(f"error: synchronous and journal are {settings}")
    print(json.dumps({
        "peer": "huey", "version": library.__version__, "durability": arguments.durability,
        "synchronous": settings[0], "journal": settings[1], "jobs": arguments.jobs, "ran": ran.count,
        "bulk_per_second": arguments.jobs / enqueued,
        "single_per_second": single_rate,
        "worked_per_second": arguments.jobs / worked,
        "end_to_end_per_second": arguments.jobs / (enqueued + worked),
    }))


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", required=True, help="a folder for the files of this run")
    parser.add_argument("--durability", choices=LEVELS, required=True)
    parser.add_argument("--jobs", type=int, required=True)
    parser.add_argument("--singles", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1, help="threads; more than one fight for the file's lock")
    return parser.parse_args()


class Storage(SqliteStorage):
    """The library knows FULL and OFF only, so its connections are set to the level as they are made."""

    def __init__(self, *args, level, **kwargs):
        self.level = level
        super().__init__(*args, **kwargs)

    def _create_connection(self):
        connection = super()._create_connection()
        connection.execute(f"pragma synchronous={self.level}")
        return connection

    def settings(self):
        connection: sqlite3.Connection = self.conn
        return (connection.execute("pragma synchronous").fetchone()[0],
                connection.execute("pragma journal_mode").fetchone()[0])


class Count:
    """Attempts that ran, counted by the workers' threads."""

    def __init__(self):
        self.count = 0
        self.lock = threading.Lock()

    def add(self):
        with self.lock:
            self.count += 1


def make(arguments, file, level):
    # A job without a result is one write less, to the library's favor.
    queue = SqliteHuey("bench", filename=os.path.join(arguments.dir, file), storage_class=Storage, level=level,
                       results=False)
    ran = Count()

    @queue.task()
    def noop(payload):
        assert len(payload) == 100
        ran.add()

    queue.noop = noop
    return queue, ran


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    main()
