"""Certificates that a client has refused, and settings under which an SDK would refuse none."""

import os
import ssl
from typing import Any

from asyncstream.errors import ConfigError, chain


def refused_certificate(error: BaseException, *kinds: type[BaseException]) -> BaseException | None:
    """The error in a chain that says that a server's certificate was refused; None if no error says so.

    Args:
        error: what a library raised.
        kinds: errors of the library's own that say so, beside those of `ssl`.
    """
    kinds = (ssl.SSLCertVerificationError, *kinds)
    return next((each for each in chain(error) if isinstance(each, kinds)), None)


def check_bundle(session: Any) -> None:
    """Refuse a bundle of certificates with an empty name: botocore before 1.43 verifies no server then.

    Args:
        session: of botocore or aiobotocore; its clients take the bundle from the environment or a file.

    Raises:
        ConfigError: the name is empty.
    """
    bundle = session.get_config_variable("ca_bundle")
    if bundle is None:
        bundle = os.environ.get("REQUESTS_CA_BUNDLE")
    if bundle is not None and not bundle.strip():
        raise ConfigError(
            "AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE or ca_bundle is set, and empty: name a file of certificates, "
            "or unset it"
        )
