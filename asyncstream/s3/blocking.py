"""The transport over boto3, for the sequential and the threads engine. It blocks and never suspends."""

from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

import boto3
import botocore.session
import urllib3.exceptions
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from asyncstream.engines.driver import drive
from asyncstream.errors import AsyncstreamError, ConnectionClosed, S3Error
from asyncstream.ports import Body, TimeLeft, for_ever
from asyncstream.s3.call_limits import CallLimits, call_limits
from asyncstream.s3.client import (
    client_options,
    credential_options,
    expect_for_streams,
    expect_nothing,
    fixed_keys,
    is_aws,
    prepare_client,
    prepare_session,
    sdk_options,
)
from asyncstream.s3.connections import use_own_connections
from asyncstream.s3.failures import broken_body_error, convert_error, reply_timeout_error
from asyncstream.s3.roles import RoleProvider
from asyncstream.s3.sdk_errors import PROGRAM_ERRORS
from asyncstream.s3.settings import ClientSettings
from asyncstream.units import KiB

# Bytes for a thread, its two connections and their headers, in addition to the chunk (measured).
_OVERHEAD = 80 * KiB
_SDK_ERRORS = (
    BotoCoreError,
    ResponseParserError,
    urllib3.exceptions.HTTPError,
    HTTPException,
    OSError,
    *PROGRAM_ERRORS,
)


class BlockingTransport:
    """One boto3 client per bucket region."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._expects = True  # until the server refuses it
        self._config = Config(**sdk_options(settings))
        # Those of the first client since the last renewal.
        self._keys: tuple[str | None, ...] | None = None
        self.renewals = 0
        # Created here, on one thread: boto3 sessions are not thread-safe.
        self._clients: dict[str | None, Any] = {None: self._new_client(None)}
        self.is_aws = is_aws(self._clients[None])

    @property
    def slot_bytes(self) -> int:
        """The bytes of one chunk buffer and of a thread."""
        return self._settings.chunk_size + _OVERHEAD

    async def call(
        self, operation: str, params: Mapping[str, Any], region: str | None, left: TimeLeft = for_ever
    ) -> dict[str, Any]:
        """See `ports.Transport`."""
        body = params.get("Body")
        if body is not None and not isinstance(body, bytes):
            params = {**params, "Body": _Readable(body)}
        # A call within a call resumes the body that the outer call sends.
        patience = self._settings.patience(operation, within_upload=call_limits.get(None) is not None)
        own = CallLimits(left, self._settings.stall_timeout, patience.seconds)
        outer = call_limits.set(own)
        try:
            reply: dict[str, Any] = getattr(self._client(region), xform_name(operation))(**params)
        except ClientError as error:
            raise self._refusal(error, operation, params, own) from error
        except _SDK_ERRORS as error:
            if own.reply_is_late():
                raise reply_timeout_error(operation, params, patience) from error
            raise convert_error(error, operation, params) from error
        finally:
            call_limits.reset(outer)
        return reply

    def stream(self, body: Any, length: int, left: TimeLeft = for_ever) -> "_RawStream | _OtherStream":
        """See `ports.Transport`."""
        # https://github.com/boto/botocore/blob/1.43.117/botocore/response.py#L55
        raw = getattr(body, "_raw_stream", None)
        if isinstance(raw, urllib3.HTTPResponse):
            return _RawStream(raw, length, self._settings, left)
        return _OtherStream(body, self._settings)

    async def renew(self, renewals: int) -> None:
        """See `ports.Transport`."""
        if renewals != self.renewals or self._same_keys():
            return
        # No lock: if two threads get here at once, both replace the clients, and the later ones are used.
        replaced, self._clients, self._keys = self._clients, {}, None
        self.renewals += 1
        # Requests of other threads go on: this closes idle connections, and those in use when they are done.
        for client in list(replaced.values()):
            client.close()

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients.values():
            client.close()

    def _same_keys(self) -> bool:
        """Return whether new clients would sign with the same keys."""
        try:
            found = fixed_keys(_new_session(self._settings).get_credentials())
        except _SDK_ERRORS:
            return False  # the next call creates a client, and reports the error
        return found is not None and found == self._keys

    def _refusal(
        self, error: ClientError, operation: str, params: Mapping[str, Any], own: CallLimits
    ) -> AsyncstreamError:
        # Not in `call`, whose frame the error's traceback has: it would keep the connection open.
        refusal = convert_error(error, operation, params)
        if isinstance(refusal, S3Error) and refusal.status == HTTPStatus.EXPECTATION_FAILED and own.expects:
            self._expects = False
            return ConnectionClosed(f"{refusal}: the next try sends no Expect: 100-continue")
        return refusal

    def _limit_expect(self, params: dict[str, Any], **_: Any) -> None:
        if self._expects:
            expect_for_streams(params)
        else:
            expect_nothing(params)
        call_limits.get().expects = "Expect" in params["headers"]

    def _client(self, region: str | None) -> Any:
        client = self._clients.get(region)
        if client is None:
            client = self._clients.setdefault(region, self._new_client(region))
        return client

    def _new_client(self, region: str | None) -> Any:
        session = _new_session(self._settings)
        self._keys = self._keys or fixed_keys(session.get_credentials())
        options = client_options(self._settings, region)
        client = boto3.Session(botocore_session=session).client("s3", config=self._config, **options)
        prepare_client(client)
        use_own_connections(client)
        client.meta.events.register_last("before-call.s3", self._limit_expect)
        return client


def _new_session(settings: ClientSettings) -> Any:
    """Return a session that signs with the credentials of an end."""
    access = settings.access
    session = botocore.session.get_session()
    prepare_session(session, access)
    session.set_default_client_config(Config(**credential_options(settings)))
    if access.role_arn is None:
        return session
    with_role = botocore.session.get_session()
    prepare_session(with_role, access.without_keys())
    with_role.set_default_client_config(Config(**credential_options(settings)))
    # Before all others: with a profile, there is none of the environment to insert it before.
    with_role.get_component("credential_provider").providers.insert(0, RoleProvider(session, access))
    return with_role


class _Readable:
    """A `Body` that http.client reads. It sends the bytes that `read` returns, of any length and type.

    moto's `mock_aws` reads without a size, and expects all bytes.
    """

    def __init__(self, body: Body) -> None:
        self.body = body

    def read(self, size: int = -1) -> bytes | memoryview:
        if size < 0:
            return b"".join(bytes(chunk) for chunk in iter(self._next_chunk, b""))
        return self._next_chunk()

    def _next_chunk(self) -> bytes | memoryview:
        return drive(self.body.next_chunk())


class _RawStream:
    """The body of a GET, read into one reused buffer. Avoiding urllib3's copies saves a quarter of CPU."""

    def __init__(self, raw: Any, length: int, settings: ClientSettings, left: TimeLeft) -> None:
        self._raw = raw
        self._left = length
        self._settings = settings
        self._buffer = memoryview(bytearray(min(length, settings.chunk_size)))
        self._limits = CallLimits(left, settings.stall_timeout)

    async def read(self) -> memoryview:
        self._limits.start_chunk()
        outer = call_limits.set(self._limits)
        try:
            # https://github.com/urllib3/urllib3/blob/2.8.0/src/urllib3/response.py#L794
            count = self._raw._fp.readinto(self._buffer)  # noqa: SLF001
        except _SDK_ERRORS as error:
            raise broken_body_error(error, self._settings.stall_timeout) from error
        finally:
            call_limits.reset(outer)
        self._left -= count
        return self._buffer[:count]

    async def close(self) -> None:
        if self._left == 0:
            # http.client does not see the end of an empty body, because it is never read. It would send the
            # next request over this connection, and then refuse to read the reply.
            self._raw._fp.close()  # noqa: SLF001
            self._raw.release_conn()
        else:
            self._raw.close()


class _OtherStream:
    """The body of a GET that no connection of ours brought, such as a reply of moto's `mock_aws`."""

    def __init__(self, body: Any, settings: ClientSettings) -> None:
        self._body = body
        self._settings = settings

    async def read(self) -> bytes:
        try:
            chunk: bytes = self._body.read(self._settings.chunk_size)
        except _SDK_ERRORS as error:
            raise broken_body_error(error, self._settings.stall_timeout) from error
        return chunk

    async def close(self) -> None:
        self._body.close()
