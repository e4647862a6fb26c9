"""`MiniStack`: a third-party AWS emulator on this machine that enforces IAM policies.

It runs functions as processes of its own Python, accepts `sam deploy`, and polls queues. What it lacks
(ItemBatcher, ResultWriter, redrives, inventories) is tested with `asl_machine.py`.
"""

import os
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import boto3
import trustme

from tests.servers.base import end, free_port, until

START_SECONDS = 60.0
STOP_SECONDS = 2.0  # at its end, the server waits for connections that are kept alive
REGION = "eu-central-1"


class MiniStack:
    """A running server; a context manager. It uses TLS, because the template's buckets refuse anything else.

    Args:
        python: the interpreter that MiniStack is installed for; it also runs the functions.
        directory: an empty directory for everything that it writes.
    """

    def __init__(self, python: Path, directory: Path) -> None:
        self._log = directory / "log"
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        self._authority = directory / "ca.pem"
        authority.cert_pem.write_to_path(self._authority)
        chain, key = directory / "chain.pem", directory / "key.pem"
        chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(key)
        (directory / "tmp").mkdir()
        port = free_port()
        self.endpoint_url = f"https://127.0.0.1:{port}"
        environ = {
            "AUTH": "true",  # without it every role is allowed everything
            "AWS_CA_BUNDLE": str(self._authority),
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0",  # AWS waits minutes
            "MINISTACK_HOST": "127.0.0.1",
            "MINISTACK_SSL_CERT": str(chain),
            "MINISTACK_SSL_KEY": str(key),
            "PATH": os.environ["PATH"],
            "STATE_DIR": str(directory / "state"),
            "TMPDIR": str(directory / "tmp"),
            "USE_SSL": "1",
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [python, "-m", "ministack"], cwd=directory, env=environ, stdout=log, stderr=log
            )

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that make boto3, sam and `asyncstream compare` use this server."""
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_CA_BUNDLE": str(self._authority),
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def client(self, service: str) -> Any:
        """Return a boto3 client with the account owner's credentials."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint_url,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            verify=str(self._authority),
        )

    def __enter__(self) -> "MiniStack":
        """Wait until the server answers requests."""
        context = ssl.create_default_context(cafile=str(self._authority))

        def answers() -> bool:
            assert self._process.poll() is None, f"MiniStack did not start:\n{self._log.read_text()}"
            with suppress(URLError, OSError):
                urlopen(f"{self.endpoint_url}/_ministack/health", context=context, timeout=5).close()
                return True
            return False

        try:
            until(answers, START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server and its functions."""
        end(self._process, STOP_SECONDS)
