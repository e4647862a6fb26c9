"""`AwsSettings`: the variables and files with which a test sets up the SDKs, and values for them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.credentials import SSOProvider
from botocore.tokens import SSOTokenProvider

from asyncstream.errors import AsyncstreamError

SECRET = "s3cr3t-t0k3n"
ROLE = "arn:aws:iam::123456789012:role/writer"
MRAP = "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap"
MISSING = "/there/is/no/such/file"
SSO = """[profile dev]
region = us-east-1
sso_session = office
sso_account_id = 123456789012
sso_role_name = reader
[sso-session office]
sso_region = us-east-1
sso_start_url = https://office.awsapps.com/start
sso_registration_scopes = sso:account:access
"""
LEGACY_SSO = """[profile dev]
region = us-east-1
sso_region = us-east-1
sso_start_url = https://office.awsapps.com/start
sso_account_id = 123456789012
sso_role_name = reader
"""

# Copies one object; see the fixture `fail`.
Fail = Callable[..., AsyncstreamError]


class AwsSettings:
    """The variables and files of one test. No request of it leaves the machine."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._directory = directory
        self._variables = monkeypatch
        self.tokens = directory / "sso"
        self.tokens.mkdir()
        for provider in (SSOProvider, SSOTokenProvider):
            monkeypatch.setattr(provider, "_SSO_TOKEN_CACHE_DIR", str(self.tokens))

    def set(self, name: str, value: str) -> None:
        """Set a variable."""
        self._variables.setenv(name, value)

    def profile(self, text: str) -> None:
        """Use the profile `dev` of this configuration file, and no keys."""
        path = self._directory / "config"
        path.write_text(text)
        self.set("AWS_CONFIG_FILE", str(path))
        self.set("AWS_PROFILE", "dev")
        self.without_keys()

    def without_keys(self) -> None:
        """Remove the variables with keys."""
        self._variables.delenv("AWS_ACCESS_KEY_ID")
        self._variables.delenv("AWS_SECRET_ACCESS_KEY")

    def token(self, expires: str, of: str = "office") -> None:
        """Store a token as `aws sso login` does."""
        name = hashlib.sha1(of.encode(), usedforsecurity=False).hexdigest()
        content = {
            "accessToken": SECRET,
            "expiresAt": expires,
            "region": "us-east-1",
            "startUrl": "https://o",
        }
        (self.tokens / f"{name}.json").write_text(json.dumps(content))

    def program(self, text: str) -> str:
        """Write a shell script, and return its path."""
        path = self._directory / "program"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)
