"""Worker processes that each do one run after another. A process that hangs is ended and reported."""

from __future__ import annotations

import gc
import multiprocessing
import os
import queue
import threading
import time
from typing import TYPE_CHECKING

from tests import sdk_models
from tests.servers.base import CREDENTIALS

from .choices import choose
from .judge import Ended, Error
from .runs import Run, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from multiprocessing.connection import Connection

# A transfer with a deadline of 3 seconds that has not returned after this time hangs.
HANG_SECONDS = 60.0
_END_SECONDS = 10.0
_SPAWNING = multiprocessing.get_context("spawn")


def run_all(
    seeds: Iterable[int], urls: Mapping[str, str], count: int, on_run: Callable[[Run], None], end: float
) -> None:
    """Run the seeds in `count` processes; call `on_run` with each. No run starts after `end` (monotonic)."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for seed in seeds:
        waiting.put(seed)
    done: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
    threads = [threading.Thread(target=_feed, args=(waiting, urls, done, end)) for _ in range(count)]
    for thread in threads:
        thread.start()
    ended = 0
    while ended < count:
        run = done.get()
        if run is None:
            ended += 1
        else:
            on_run(run)
    for thread in threads:
        thread.join()


def _feed(
    waiting: queue.SimpleQueue[int],
    urls: Mapping[str, str],
    done: queue.SimpleQueue[Run | None],
    end: float,
) -> None:
    """Give one process seed after seed."""
    worker: _Worker | None = None
    try:
        while time.monotonic() < end:
            seed = waiting.get_nowait()
            worker = worker or _Worker(urls)
            run = worker.run(seed)
            done.put(run)
            if run.ended.status == "hung":
                worker.close()
                worker = None
    except queue.Empty:
        pass
    finally:
        if worker is not None:
            worker.close()
        done.put(None)


class _Worker:
    def __init__(self, urls: Mapping[str, str]) -> None:
        self._pipe, theirs = _SPAWNING.Pipe()
        self._process = _SPAWNING.Process(target=_work, args=(theirs, dict(urls)), daemon=True)
        self._process.start()
        theirs.close()

    def run(self, seed: int) -> Run:
        """Send the process a seed; return its run, or a hung run if it does not answer."""
        self._pipe.send(seed)
        why = f"no end within {HANG_SECONDS:g} s"
        try:
            if self._pipe.poll(HANG_SECONDS):
                run: Run = self._pipe.recv()
                return run
        except (EOFError, OSError):
            self._process.join(_END_SECONDS)
            why = f"the process ended with {self._process.exitcode}"
        error = Error(("Hung",), why)
        ended = Ended("hung", HANG_SECONDS, 0.0, error)
        return Run(choose(seed), ended, {"odd": why, "late": why}, ())

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _work(pipe: Connection, urls: Mapping[str, str]) -> None:
    """Run the seeds from the pipe until it is closed."""
    os.environ |= CREDENTIALS
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        os.environ.pop(name, None)
    sdk_models.keep()
    try:
        pipe.send(run(pipe.recv(), urls))
        gc.freeze()  # each run's collection would otherwise scan all modules and models again
        while True:
            pipe.send(run(pipe.recv(), urls))
    except EOFError:
        pass
