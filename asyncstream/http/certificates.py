"""Detect refused certificates, and a setting with which an SDK would not verify any."""

import os
import ssl
from typing import Any

from asyncstream.errors import ConfigError, chain


def find_refused_certificate(error: BaseException, *kinds: type[BaseException]) -> BaseException | None:
    """Return the error in a chain that reports a refused certificate; None if there is none.

    Args:
        error: the error that a library raised.
        kinds: the library's own errors for a refused certificate, in addition to that of `ssl`.
    """
    kinds = (ssl.SSLCertVerificationError, *kinds)
    return next((each for each in chain(error) if isinstance(each, kinds)), None)


def check_bundle(session: Any) -> None:
    """Refuse an empty name for the certificate bundle: botocore before 1.43 would not verify servers.

    Args:
        session: a botocore or aiobotocore session; its clients take the bundle from the environment or a
            file.

    Raises:
        ConfigError: the name is empty.
    """
    bundle = session.get_config_variable("ca_bundle")
    if bundle is None:
        bundle = os.environ.get("REQUESTS_CA_BUNDLE")
    if bundle is not None and not bundle.strip():
        raise ConfigError(
            "AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE or ca_bundle is set but empty: name a file of certificates, "
            "or unset it"
        )
