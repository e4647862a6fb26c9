"""Assume a role with the credentials of a session: what both SDKs share, and the part of boto3."""

from typing import Any

from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    DeferredRefreshableCredentials,
)

from asyncstream.s3.access import S3Access

_METHOD = "asyncstream-assume-role"


class RoleProvider(CredentialProvider):  # type: ignore[misc]  # botocore has no types
    """The first credential provider of a session: the role's credentials, renewed before they expire.

    Args:
        base: a session that finds the credentials to assume the role with.
        access: names the role.
    """

    METHOD = _METHOD
    CANONICAL_NAME = "custom-asyncstream-assume-role"

    def __init__(self, base: Any, access: S3Access) -> None:
        super().__init__()
        self._base = base
        self._access = access

    def load(self) -> Any:
        """Return credentials that ask STS at their first use; None without credentials to ask with."""
        own = self._base.get_credentials()
        if own is None:
            return None
        fetcher = AssumeRoleCredentialFetcher(*self.fetcher_arguments(own), extra_args=self.extra_args())
        return DeferredRefreshableCredentials(fetcher.fetch_credentials, _METHOD)

    def fetcher_arguments(self, own: Any) -> tuple[Any, Any, str | None]:
        """Return the arguments of both SDKs' fetchers: what creates STS clients, credentials, the role."""
        return self._base.create_client, own, self._access.role_arn

    def extra_args(self) -> dict[str, str]:
        """Return the further parameters of AssumeRole."""
        named = {"RoleSessionName": "asyncstream"}
        return (
            named if self._access.external_id is None else {**named, "ExternalId": self._access.external_id}
        )
