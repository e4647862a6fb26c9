"""Detect refused certificates, and a setting with which an SDK would not verify any."""

import os
import ssl
from functools import cache
from typing import Any

from asyncstream.error_texts import chain
from asyncstream.errors import ConfigError


def find_refused_certificate(error: BaseException, *kinds: type[BaseException]) -> BaseException | None:
    """Return the error in a chain that reports a refused certificate; None if there is none.

    Args:
        error: the error that a library raised.
        kinds: the library's own errors for a refused certificate, in addition to that of `ssl`.
    """
    kinds = (ssl.SSLCertVerificationError, *kinds)
    return next((each for each in chain(error) if isinstance(each, kinds)), None)


def check_bundle(session: Any, own: str | None = None) -> None:
    """Check the file of certificates that a session's clients will verify servers by.

    With an empty name, botocore before 1.43 would not verify servers. For a file that does not exist, each
    SDK reports another error at the first request, as if the network had failed.

    Args:
        session: a botocore or aiobotocore session; its clients take the bundle from the environment or a
            file.
        own: the file of `S3Access.ca_bundle`, with which the S3 client replaces that of the session.

    Raises:
        ConfigError: a name is empty, or its file has no certificates.
    """
    if own is not None:
        _check_certificates("ca_bundle", own)
    bundle = session.get_config_variable("ca_bundle")
    if bundle is None:
        bundle = os.environ.get("REQUESTS_CA_BUNDLE")
    if bundle is None:
        return
    if not bundle.strip():
        raise ConfigError(
            "AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE or ca_bundle is set but empty: name a file of certificates, "
            "or unset it"
        )
    named = (name for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE") if os.environ.get(name) == bundle)
    _check_certificates(next(named, "ca_bundle of the AWS profile"), bundle)


@cache  # reading 140 certificates takes 15 to 40 ms, for each client
def _check_certificates(setting: str, path: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:  # an SSLError is one, too
        reason = "it has no certificates in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(
            f"{setting}={path!r} cannot be used to verify servers: {reason}. Name a file of certificates"
        ) from error
