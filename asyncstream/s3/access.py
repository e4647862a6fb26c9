"""`S3Access`: how one end of a transfer reaches its S3. Imports no SDK."""

import os
from collections.abc import Mapping
from typing import Any, Literal, Self

from asyncstream.errors import ConfigError
from asyncstream.settings import Settings, check_names

SOURCE_PREFIX, DESTINATION_PREFIX = "ASYNCSTREAM_SOURCE_", "ASYNCSTREAM_DESTINATION_"
AddressingStyle = Literal["auto", "path", "virtual"]
_SECRET = ("secret_access_key", "session_token")


class S3Access(Settings, frozen=True, kw_only=True):
    """How to reach the S3 of one end of a transfer: its address, and the credentials to use.

    What is not set comes from the environment, as with boto3: its variables, its files, the function's role.

    Attributes:
        endpoint_url: the URL of another S3 than AWS's. Default: AWS_ENDPOINT_URL_S3, or else AWS.
        region: the region of the first request. S3's replies name that of each bucket.
        profile: a profile of the AWS configuration files.
        access_key_id: a key to sign with, together with `secret_access_key`.
        secret_access_key: see `access_key_id`.
        session_token: the token of temporary keys.
        role_arn: an IAM role to assume by STS, with the credentials that the other settings give. Its
            credentials are renewed before they expire.
        external_id: the external id that the role's trust policy asks for.
        addressing_style: where the bucket's name goes: "virtual" (host name), "path", or "auto" (default),
            as the AWS configuration says, else as boto3 chooses.
        ca_bundle: a file of certificates to verify the server by. Default: AWS_CA_BUNDLE, or else botocore's.

    Raises:
        ConfigError: a value has the wrong type, or two settings contradict each other.
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    session_token: str | None = None
    role_arn: str | None = None
    external_id: str | None = None
    addressing_style: AddressingStyle = "auto"
    ca_bundle: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        empty = [name for name in self.__struct_fields__ if getattr(self, name) == ""]
        if empty:
            raise ConfigError(f"{empty[0]} is empty: give a value, or None")
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ConfigError("access_key_id and secret_access_key belong together: give both, or none")
        if self.session_token is not None and self.access_key_id is None:
            raise ConfigError("session_token belongs to an access_key_id: give both")
        if self.access_key_id is not None and self.profile is not None:
            raise ConfigError(f"access_key_id and profile={self.profile!r}: give one of the two")
        if self.external_id is not None and self.role_arn is None:
            raise ConfigError(f"external_id={self.external_id!r} belongs to a role_arn: give both")
        if self.role_arn is not None and ":role/" not in self.role_arn:
            raise ConfigError(
                f"role_arn={self.role_arn!r} is not the ARN of a role, such as "
                "arn:aws:iam::123456789012:role/name"
            )

    @classmethod
    def read(cls, prefix: str, environ: Mapping[str, str] | None = None, **given: str) -> Self:
        """Return the settings of variables such as ASYNCSTREAM_SOURCE_ROLE_ARN; empty ones are ignored.

        Args:
            prefix: of the variables' names: `SOURCE_PREFIX` or `DESTINATION_PREFIX`.
            environ: the variables. Default: those of the process.
            given: settings that override the variables.

        Raises:
            ConfigError: a variable with this prefix is not a setting, or a value is wrong.
        """
        variables = os.environ if environ is None else environ
        check_names(variables, prefix, cls.__struct_fields__, cls.__name__)
        named = {name: variables.get(f"{prefix}{name.upper()}") for name in cls.__struct_fields__}
        read = {name: text for name, text in named.items() if text}
        return cls(**(read | given))  # type: ignore[arg-type]  # all settings are texts

    def at(self, endpoint_url: str | None) -> Self:
        """Return these settings with an endpoint, unless they have one of their own."""
        if endpoint_url is None or self.endpoint_url is not None:
            return self
        return self.override({"endpoint_url": endpoint_url})

    def without_keys(self) -> Self:
        """Return these settings without keys, for the clients that use the role's."""
        return self.override(dict.fromkeys(("access_key_id", *_SECRET)))

    def _masked(self) -> dict[str, Any]:
        return {name: "***" for name in _SECRET if getattr(self, name) is not None}


DEFAULT_ACCESS = S3Access()


def one_server(source: S3Access, destination: S3Access) -> bool:
    """Return whether both ends have one address, so that one bucket and key mean one object at both.

    All addresses of AWS count as one: a bucket's name is unique there.
    """
    return _server(source) == _server(destination)


def _server(access: S3Access) -> str:
    variables = (os.environ.get(name) for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
    url = next(filter(None, (access.endpoint_url, *variables)), "").rstrip("/").lower()
    return "" if ".amazonaws.com" in url else url
