"""Access to S3: one store over two transports (boto3, aioboto3), with pure code for requests and replies."""

import os

# If awscrt is installed, botocore loads its signing code: 2 MB that no client here uses. Set at import, not
# at first use: botocore reads this when it is imported, and the X-Ray SDK may import it first.
os.environ.setdefault("BOTO_DISABLE_CRT", "true")

from asyncstream import checksum
from asyncstream.errors import ConfigError
from asyncstream.ports import Transport
from asyncstream.s3.settings import ClientSettings


async def open_transport(engine: str, settings: ClientSettings) -> Transport:
    """Open the transport for an engine. Imports only its modules: the blocking one does not import aiohttp.

    Raises:
        ConfigError: these settings or the environment do not allow a client to be created.
    """
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - gathering pages needs no SDK

    from asyncstream.s3.sdk_errors import explain  # noqa: PLC0415 - a cold start may not need it

    checksum.load()
    try:
        if engine == "asyncio":
            from asyncstream.s3.aio import AsyncioTransport  # noqa: PLC0415

            return await AsyncioTransport.open(settings)
        from asyncstream.s3.blocking import BlockingTransport  # noqa: PLC0415

        return BlockingTransport(settings)
    except ConfigError:
        raise
    # OSError: a program that gives credentials cannot be run. ValueError: the endpoint is not a URL.
    except (BotoCoreError, OSError, ValueError) as error:
        raise ConfigError(f"cannot create an S3 client: {explain(error)}") from error
