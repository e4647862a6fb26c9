"""A small STS: it records each AssumeRole, and answers with keys of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qsl

_REPLY = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey><SessionToken>{token}</SessionToken>
<Expiration>{expires:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""
_REFUSAL = """<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>AccessDenied</Code><Message>not authorized</Message></Error></ErrorResponse>"""


class Sts:
    """What the server was asked, and how it answers.

    Attributes:
        url: the address to set as AWS_ENDPOINT_URL_STS.
        asked: the parameters of each AssumeRole, and the access key and region that signed it.
        key, secret, token: the credentials that it gives.
        lifetime: how long they are valid.
        refuses: whether it refuses every request.
    """

    def __init__(self, key: str, secret: str, token: str, lifetime: timedelta) -> None:
        self.url = ""
        self.asked: list[dict[str, str]] = []
        self.key, self.secret, self.token, self.lifetime = key, secret, token, lifetime
        self.refuses = False

    def answer(self, request: dict[str, str]) -> tuple[int, str]:
        """Record a request, and return the status and the body of its reply."""
        self.asked.append(request)
        if self.refuses:
            return 403, _REFUSAL
        expires = datetime.now(UTC) + self.lifetime
        return 200, _REPLY.format(key=self.key, secret=self.secret, token=self.token, expires=expires)


@contextmanager
def serve_sts(
    key: str = "ASIAROLE",
    secret: str = "role-secret",
    token: str = "role-token",
    lifetime: timedelta = timedelta(hours=1),
) -> Iterator[Sts]:
    """Run the server until the block ends."""
    sts = Sts(key, secret, token, lifetime)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            credential = self.headers["Authorization"].partition("Credential=")[2].split("/")
            own = {"signer": credential[0], "region": credential[2]}
            status, body = sts.answer({**dict(parse_qsl(form)), **own})
            self.send_response(status)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Write no log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sts.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield sts
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
