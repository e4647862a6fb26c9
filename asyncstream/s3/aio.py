"""The transport over aioboto3 or aiobotocore, for the asyncio engine."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from types import MappingProxyType
from typing import Any

import aiohttp
from aiobotocore.credentials import AioAssumeRoleCredentialFetcher, AioDeferredRefreshableCredentials
from aiobotocore.session import AioSession
from botocore import xform_name
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from asyncstream.engines.aio import is_stock_loop
from asyncstream.errors import ConfigError
from asyncstream.ports import Body, TimeLeft, for_ever
from asyncstream.s3.access import S3Access
from asyncstream.s3.aio_connections import Call, VerifiedConfig, current_call, limit_body
from asyncstream.s3.buffers import SLOT, SLOT_ON_OTHER_LOOPS
from asyncstream.s3.client import (
    client_options,
    credential_options,
    expect_nothing,
    fixed_keys,
    is_aws,
    prepare_client,
    prepare_session,
    sdk_options,
)
from asyncstream.s3.environment import is_mocked
from asyncstream.s3.failures import broken_body_error, convert_error, reply_timeout_error
from asyncstream.s3.roles import RoleProvider
from asyncstream.s3.sdk_errors import PROGRAM_ERRORS
from asyncstream.s3.settings import ClientSettings

# As botocore does for its own: else Python prints its warnings, each with tracebacks, if no log is set up.
logging.getLogger("aiobotocore").addHandler(logging.NullHandler())

_SDK_ERRORS = (BotoCoreError, ResponseParserError, aiohttp.ClientError, OSError, *PROGRAM_ERRORS)

NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class AsyncioTransport:
    """One client per bucket region. It belongs to the event loop that was running when it was opened."""

    def __init__(self, settings: ClientSettings) -> None:
        self._slot_bytes = SLOT if is_stock_loop() else SLOT_ON_OTHER_LOOPS
        self._settings = settings
        self._config = VerifiedConfig(**sdk_options(settings))
        self._clients: dict[str | None, Any] = {}
        self._open = AsyncExitStack()
        # The clients before the last renewal, which tasks may still use.
        self._replaced = AsyncExitStack()
        # Those of the first client since the last renewal.
        self._keys: tuple[str | None, ...] | None = None
        self.renewals = 0
        self.is_aws = False

    @property
    def slot_bytes(self) -> int:
        """The bytes that aiohttp, asyncio and OpenSSL hold for a GET and a PUT."""
        return self._slot_bytes

    async def call(
        self, operation: str, params: Mapping[str, Any], region: str | None, left: TimeLeft = for_ever
    ) -> dict[str, Any]:
        """See `ports.Transport`."""
        body = params.get("Body")
        if body is not None and not isinstance(body, bytes):
            params = {**params, "Body": _AsyncReadable(body)}
        # A call within a call resumes the body that the outer call sends.
        patience = self._settings.patience(operation, within_upload=current_call.get(None) is not None)
        own = Call(left(), patience.seconds)
        outer = current_call.set(own)
        try:
            client = await self._client(region)
            reply: dict[str, Any] = await getattr(client, xform_name(operation))(**params)
        except ClientError as error:
            raise convert_error(error, operation, params) from error
        except _SDK_ERRORS as error:
            if own.reply_is_late:
                raise reply_timeout_error(operation, params, patience) from error
            raise convert_error(error, operation, params) from error
        finally:
            own.end()
            current_call.reset(outer)
        return reply

    def stream(self, body: Any, length: int, left: TimeLeft = for_ever) -> "_ContentStream":
        """See `ports.Transport`. The time limit of the call that opened the body also covers reading it."""
        return _ContentStream(body, self._settings.stall_timeout)

    @classmethod
    async def open(cls, settings: ClientSettings) -> "AsyncioTransport":
        """Open a transport and create its first client."""
        transport = cls(settings)
        transport.is_aws = is_aws(await transport._client(None))
        return transport

    async def renew(self, renewals: int) -> None:
        """See `ports.Transport`. Replaced clients stay open until the next one, for tasks that use them."""
        same = await self._same_keys()
        if renewals != self.renewals or same:
            return
        before_last, self._replaced = self._replaced, self._open
        self._open, self._clients, self._keys = AsyncExitStack(), {}, None
        self.renewals += 1
        await before_last.aclose()

    async def close(self) -> None:
        """Close all connections."""
        async with self._replaced, self._open:
            pass

    async def _same_keys(self) -> bool:
        """Return whether new clients would sign with the same keys."""
        try:
            found = fixed_keys(await self._new_session().get_credentials())
        except _SDK_ERRORS:
            return False  # the next call creates a client, and reports the error
        return found is not None and found == self._keys

    def _new_session(self) -> Any:
        return new_session(self._settings.access, credential_options(self._settings))

    async def _client(self, region: str | None) -> Any:
        client: Any = self._clients.get(region)
        if client is None:
            session, options = self._new_session(), client_options(self._settings, region)
            created = session.client("s3", config=self._config, **options)
            # A renewal may replace both while the client is created.
            clients, opened = self._clients, self._open
            client = await opened.enter_async_context(created)
            prepare_client(client)
            client.meta.events.register_last("before-call.s3", expect_nothing)
            clients[region] = client
            self._keys = self._keys or fixed_keys(await session.get_credentials())
        # moto's server, or another one with its own URL, answers asyncio too.
        if is_mocked() and ".amazonaws.com" in client.meta.endpoint_url:
            raise ConfigError(
                "moto's mock_aws answers only boto3, and the engine 'asyncio' does not use it: in this test, "
                "use the engine 'sequential' or 'threads', or moto's server"
            )
        return client


def new_session(access: S3Access, options: Mapping[str, Any] = NO_OPTIONS) -> Any:
    """Return a session that creates clients: aioboto3's if it is installed, else aiobotocore's.

    Both create the same client. The newest aioboto3 (15.5) works with today's aiobotocore, but its metadata
    only allow the one of 2025-10. `pip install --no-deps` installs it with a newer one.

    Args:
        access: names the credentials.
        options: the configuration of the clients that ask STS and SSO for them.
    """
    session = _new_core_session(access, options)
    if access.role_arn is not None:
        base, session = session, _new_core_session(access.without_keys(), options)
        session.get_component("credential_provider").providers.insert(0, _AioRoleProvider(base, access))
    try:
        import aioboto3  # noqa: PLC0415 - optional
    except ImportError:
        return _Session(session)
    return aioboto3.Session(botocore_session=session)


def _new_core_session(access: S3Access, options: Mapping[str, Any]) -> AioSession:
    session = AioSession()
    prepare_session(session, access)
    # For the clients that fetch credentials from STS and SSO. The S3 client has its own config.
    session.set_default_client_config(VerifiedConfig(**options))
    return session


class _AioRoleProvider(RoleProvider):
    async def load(self) -> Any:
        own = await self._base.get_credentials()
        if own is None:
            return None
        fetcher = AioAssumeRoleCredentialFetcher(*self.fetcher_arguments(own), extra_args=self.extra_args())
        return AioDeferredRefreshableCredentials(fetcher.fetch_credentials, self.METHOD)


class _Session:
    """aiobotocore's session, with the names of the methods that aioboto3 and boto3 have."""

    def __init__(self, session: AioSession) -> None:
        self.client = session.create_client
        self.get_credentials = session.get_credentials


class _AsyncReadable:
    """A `Body` that aiohttp iterates over. botocore requires `read`, but never calls it."""

    def __init__(self, body: Body) -> None:
        self.body = body

    def read(self, _: int = -1) -> bytes:
        raise NotImplementedError("this body cannot be read: iterate over it")

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        while chunk := await self.body.next_chunk():
            yield chunk


class _ContentStream:
    """The body of a GET: returns the bytes that aiohttp has received, without joining or splitting them."""

    def __init__(self, body: Any, stall_timeout: float) -> None:
        # Before aiobotocore 3 the body is a wrapt proxy. Since then it has the attribute `raw_stream`.
        wrapped = body.__wrapped__ if hasattr(body, "__wrapped__") else body.raw_stream
        self._response: aiohttp.ClientResponse = wrapped
        self._stall_timeout = stall_timeout
        limit_body(self._response, stall_timeout)

    async def read(self) -> bytes:
        try:
            return await self._response.content.readany()
        except _SDK_ERRORS as error:
            raise broken_body_error(error, self._stall_timeout) from error

    async def close(self) -> None:
        # Return the connection to the pool if the body was read to its end, else close it.
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()
