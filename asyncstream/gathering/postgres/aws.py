"""Passwords from AWS: secrets of Secrets Manager and IAM tokens for RDS. Only this module imports an SDK.

All engines use boto3: a function reads a secret once, and signing a token needs no request. The asyncio
engine runs it on a worker thread.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.model import ServiceId
from botocore.signers import RequestSigner
from urllib3.util.ssl_match_hostname import CertificateError

from asyncstream.errors import (
    AccessDenied,
    AsyncstreamError,
    ConfigError,
    ConnectionFailed,
    ServerNotTrusted,
    ServiceBusy,
)
from asyncstream.http.certificates import check_bundle, find_refused_certificate
from asyncstream.s3.answered_by import between, first_words, is_html
from asyncstream.s3.sdk_errors import PROGRAM_ERRORS, advice_on_refusal, explain

# A time-out in seconds. A VPC endpoint that is missing, or whose security group is closed, never answers.
_SECONDS = 5.0
_SDK_ERRORS = (ClientError, BotoCoreError, OSError, ValueError, *PROGRAM_ERRORS)
_TOKEN_SECONDS = 900
_BUSY = frozenset({"InternalServiceError", "InternalServiceErrorException", "ThrottlingException"})
_DENIED = frozenset({"AccessDeniedException", "DecryptionFailure", "InvalidSignatureException"})


class AwsPasswords:
    """See `ports.PasswordSource`.

    Args:
        compute: the engine's function for running blocking calls outside the event loop.
    """

    def __init__(self, compute: Callable[[Callable[[], str]], Awaitable[str]]) -> None:
        self._compute = compute
        self._session: Any = None

    async def secret(self, name: str, seconds: float) -> str:
        """See `ports.PasswordSource`."""
        return await self._compute(partial(self._secret, name, min(_SECONDS, seconds / 2)))

    async def token(self, host: str, port: int, user: str) -> str:
        """See `ports.PasswordSource`."""
        return await self._compute(partial(self._token, host, port, user))

    def _secret(self, name: str, seconds: float) -> str:
        # The SDK makes one attempt; the writer retries.
        config = Config(
            connect_timeout=seconds,
            read_timeout=seconds,
            retries={"total_max_attempts": 1, "mode": "standard"},
        )
        try:
            client = self._aws().client("secretsmanager", region_name=_region_from_arn(name), config=config)
            try:
                reply = client.get_secret_value(SecretId=name)
            finally:
                client.close()
        except _SDK_ERRORS as error:
            raise _convert(error, name) from error
        text = reply.get("SecretString")
        if not isinstance(text, str):
            raise ConfigError(f"the secret {name} is binary: give one with JSON text, as RDS writes it")
        return text

    def _token(self, host: str, port: int, user: str) -> str:
        """Return the token that boto3's `rds` client would generate.

        That client itself costs 13 MB of memory (measured).
        """
        try:
            return self._signed(host, port, user)
        except _SDK_ERRORS as error:
            raise _unsigned(error) from error

    def _signed(self, host: str, port: int, user: str) -> str:
        aws = self._aws()
        credentials = aws.get_credentials()
        if credentials is None or aws.region_name is None:
            raise ConfigError(
                "no IAM token can be signed: AWS credentials or a region are missing. Run with an IAM role, "
                "or set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_DEFAULT_REGION"
            )
        signer = RequestSigner(ServiceId("RDS"), aws.region_name, "rds-db", "v4", credentials, aws.events)
        request = {
            "url": f"https://{host}:{port}/?Action=connect",
            "url_path": "/",
            "query_string": "",
            "headers": {},
            "body": {"DBUser": user},
            "method": "GET",
            "context": {},
        }
        url: str = signer.generate_presigned_url(
            request, "connect", region_name=aws.region_name, expires_in=_TOKEN_SECONDS, signing_name="rds-db"
        )
        return url.removeprefix("https://")

    def _aws(self) -> Any:
        if self._session is None:
            session = botocore.session.get_session()
            check_bundle(session)
            self._session = boto3.Session(botocore_session=session)
        return self._session


def _region_from_arn(name: str) -> str | None:
    """Return the region of a secret, which its ARN names; None if `name` is not an ARN."""
    return name.split(":")[3] if name.startswith("arn:") and name.count(":") >= 6 else None


def _convert(error: Exception, name: str) -> AsyncstreamError:
    what = f"the secret {name} could not be read"
    if isinstance(error, AsyncstreamError):
        return error
    if find_refused_certificate(error, CertificateError) is not None:
        return ServerNotTrusted(f"{what}: {error}")
    if isinstance(error, ClientError):
        return _refused(error, what)
    explained = explain(error)
    if isinstance(explained, ConnectionFailed):
        return ConnectionFailed(
            f"{what}: {explained}. In a VPC, Secrets Manager needs an endpoint or a NAT gateway"
        )
    return ConfigError(f"{what}: {explained}")


def _refused(error: ClientError, what: str) -> AsyncstreamError:
    details = error.response.get("Error", {})
    code, text = str(details.get("Code", "")), str(details.get("Message", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if is_html(text):  # botocore takes a body that is not JSON for the message
        message = between(what, status, first_words(text.encode()))
        return ServiceBusy(message) if status >= 500 else ConfigError(message)
    is_of_others = error.operation_name != "GetSecretValue"  # STS or SSO has answered
    refused = f": {error.operation_name} was refused" if is_of_others else ""
    message = f"{what}{refused}: {code} {text}".strip()
    if code in _DENIED:
        return AccessDenied(
            f"{message}. The role needs secretsmanager:GetSecretValue, and kms:Decrypt of its key"
        )
    if code in _BUSY or status >= 500:
        return ServiceBusy(message)
    if is_of_others:
        message = f"{message.rstrip('. ')}. {advice_on_refusal(error.operation_name, code)}"
    return ConfigError(message)


def _unsigned(error: Exception) -> AsyncstreamError:
    """Return the error for a token that cannot be signed, because no credentials were found or given."""
    if isinstance(error, AsyncstreamError):
        return error
    what = "no IAM token can be signed"
    if find_refused_certificate(error, CertificateError) is not None:
        return ServerNotTrusted(f"{what}: {error}")
    if isinstance(error, ClientError):  # of STS or SSO
        return _refused(error, what)
    explained = explain(error)
    kind = ConnectionFailed if isinstance(explained, ConnectionFailed) else ConfigError
    return kind(f"{what}: {explained}")
