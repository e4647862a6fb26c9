"""The base of all servers: `S3Server`, its buckets, and the capabilities that some servers lack."""

import contextlib
import itertools
import os
import random
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from enum import Enum, auto
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import asyncstream.s3.client  # noqa: F401 # isort: skip - sets BOTO_DISABLE_CRT before botocore is imported
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.handlers import add_expect_header

# A guard against waiting for ever. On a busy machine even a wait that succeeds may take long.
GUARD_SECONDS = 60.0
# Time-outs and deadlines that tests let expire. On a busy machine a short one may expire too early: the
# test sees that in its counters and tries the next one.
PATIENCE = (0.3, 1.0, 4.0, 15.0)

# Every server accepts any credentials. us-east-1 is the region where S3 needs no location constraint.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIATESTING",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


class Capability(Enum):
    """A feature that a test may need beyond reading, writing, ranges, listing and multipart uploads."""

    KEEPS_EXPIRES = auto()
    STORAGE_CLASSES = auto()
    VERSIONS = auto()
    OBJECT_LOCK = auto()
    TAGS = auto()
    DENIES_ACCESS = auto()
    ETAG_OF_MULTIPART = auto()
    COUNTS_CONNECTIONS = auto()
    KEYS_OF_ANY_PATH = auto()
    KEYS_OF_LONG_NAMES = auto()
    KEYS_OF_CONTROL_CHARACTERS = auto()
    MANY_HEADERS = auto()


class Bucket:
    """One bucket, filled and checked with a plain boto3 client."""

    def __init__(self, client: Any, name: str) -> None:
        self.name = name
        self.client = client
        client.create_bucket(Bucket=name)

    def put(self, key: str, body: bytes, **headers: Any) -> str:
        """Write an object and return its version, if the bucket has versions."""
        reply = self.client.put_object(Bucket=self.name, Key=key, Body=body, **headers)
        return str(reply.get("VersionId"))

    def get(self, key: str) -> bytes:
        reply = self.client.get_object(Bucket=self.name, Key=key)
        with reply["Body"] as body:
            return bytes(body.read())

    def head(self, key: str) -> dict[str, Any]:
        """Return an object's HEAD reply. Metadata names are in lower case: HTTP headers have no case."""
        reply: dict[str, Any] = self.client.head_object(Bucket=self.name, Key=key)
        return reply | {"Metadata": {name.lower(): value for name, value in reply["Metadata"].items()}}

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=key)

    def keys(self, prefix: str = "") -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=prefix)
        return {row["Key"] for page in pages for row in page.get("Contents", ())}

    def uploads(self) -> list[str]:
        """Return the keys of the multipart uploads that were neither completed nor aborted."""
        return [upload["Key"] for upload in self._uploads()]

    def empty(self) -> None:
        """Delete all objects and uploads, so that a server that keeps everything in memory does not grow."""
        for upload in self._uploads():
            self.client.abort_multipart_upload(
                Bucket=self.name, Key=upload["Key"], UploadId=upload["UploadId"]
            )
        for key in self.keys():
            self.client.delete_object(Bucket=self.name, Key=key)

    def _uploads(self) -> list[dict[str, Any]]:
        try:
            reply = self.client.list_multipart_uploads(Bucket=self.name)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchUpload":
                return []  # rclone answers so if there are none
            raise
        return list(reply.get("Uploads", ()))


class S3Server(ABC):
    """A server in its own process. `lacks` says why tests that need a capability skip this server."""

    name: ClassVar[str]
    lacks: ClassVar[Mapping[Capability, str]] = {}

    endpoint_url: str

    def __init__(self) -> None:
        self._bucket_numbers = itertools.count(1)

    @abstractmethod
    def start(self, directory: Path) -> None:
        """Start the server and return when it answers requests; `directory` is its own."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the server and return when its process has ended."""

    @abstractmethod
    def _requests_since_start(self) -> Counter[str]:
        """Return the server's own count of the requests it answered, by operation."""

    @contextlib.contextmanager
    def counted(self) -> Iterator[Counter[str]]:
        """Count the requests that the server sees within the block; filled when the block ends."""
        before = self._requests_since_start()
        seen: Counter[str] = Counter()
        yield seen
        seen.update(self._requests_since_start() - before)

    @cached_property
    def client(self) -> Any:
        """A plain boto3 client for the tests; any thread can use it."""
        config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
        client = boto3.Session().client("s3", endpoint_url=self.endpoint_url, config=config)
        # If the client sends `Expect`, an empty body leaves a connection to a Go server unusable.
        client.meta.events.unregister("before-call.s3", add_expect_header)
        return client

    def close_client(self) -> None:
        self.client.close()

    def new_bucket(self) -> Bucket:
        return Bucket(self.client, f"bucket-{next(self._bucket_numbers)}")


class ServerProcess(S3Server):
    """A server started by a command line; its log lists the requests."""

    _process: subprocess.Popen[bytes]
    _log: Path

    @abstractmethod
    def _command(self, port: int, directory: Path) -> list[str]: ...

    @staticmethod
    @abstractmethod
    def _operation(line: str) -> str | None:
        """Return the operation that a log line reports, if any. Servers log it before they send the reply."""

    def start(self, directory: Path) -> None:
        port = free_port()
        self.endpoint_url = f"http://127.0.0.1:{port}"
        self._log = directory / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(port, directory), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(lambda: self._answers(port))

    def stop(self) -> None:
        end(self._process, GUARD_SECONDS)

    def _answers(self, port: int) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self._process.returncode}:\n{self._log.read_text()}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    def _requests_since_start(self) -> Counter[str]:
        lines = self._log.read_text(errors="replace").splitlines()
        return Counter(filter(None, map(self._operation, lines)))


def free_port() -> int:
    """Return a port for a server that cannot choose one itself.

    The kernel gives ports from 32768 up to connections, and could take one before the server has started.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as chosen, contextlib.suppress(OSError):
            chosen.bind(("127.0.0.1", port))
            return port


def end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Terminate a process; kill it if it still runs after that many seconds."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def until(condition: Callable[[], Any], seconds: float = GUARD_SECONDS) -> Any:
    """Poll the condition until it returns a true value, and return that value.

    For conditions that send no notification.

    Raises:
        TimeoutError: the condition stayed false for that many seconds.
    """
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"the condition stayed false for {seconds:g} s")
        time.sleep(0.005)
    return result
