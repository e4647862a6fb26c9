"""S3: pure request building and reply reading, and one store over two transports (boto3, aioboto3)."""

import os

# botocore loads what it needs for signing with awscrt where it finds that: 2 MB that no client of ours uses.
# Not at first use: botocore reads this when it is imported, by the X-Ray SDK maybe before a client is made.
os.environ.setdefault("BOTO_DISABLE_CRT", "true")

from asyncstream import checksum
from asyncstream.errors import ConfigError
from asyncstream.ports import Transport
from asyncstream.s3.settings import ClientSettings


async def open_transport(engine: str, settings: ClientSettings) -> Transport:
    """The transport an engine can drive. Loads what it needs: the blocking one no aiohttp.

    Raises:
        ConfigError: no client can be made with these settings or this environment.
    """
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - who only gathers pages needs no SDK

    checksum.load()
    try:
        if engine == "asyncio":
            from asyncstream.s3.aio import AsyncioTransport  # noqa: PLC0415

            return await AsyncioTransport.open(settings)
        from asyncstream.s3.blocking import BlockingTransport  # noqa: PLC0415

        return BlockingTransport(settings)
    except (BotoCoreError, ValueError) as error:  # ValueError: the endpoint is no URL
        raise ConfigError(f"no S3 client can be made: {error}") from error
