"""How commands reach the source and the destination: their options, and what these set."""

import argparse

from asyncstream.engines import EngineName
from asyncstream.pipeline.session import TransferSession
from asyncstream.s3.access import DESTINATION_PREFIX, SOURCE_PREFIX, S3Access

_PREFIXES = {"source": SOURCE_PREFIX, "destination": DESTINATION_PREFIX}
# The options without the name of the end, and the settings of `S3Access` that they set. Keys are not among
# them: other users of a machine can read command lines.
_SETTINGS = {
    "endpoint-url": "endpoint_url",
    "region": "region",
    "profile": "profile",
    "role": "role_arn",
    "external-id": "external_id",
    "addressing-style": "addressing_style",
    "ca-bundle": "ca_bundle",
}


def add_ends(parser: argparse.ArgumentParser) -> None:
    """Add the options of both ends."""
    for end, prefix in _PREFIXES.items():
        group = parser.add_argument_group(
            f"the {end}'s S3", f"These override {prefix}* of the environment, such as {prefix}ACCESS_KEY_ID."
        )
        add = group.add_argument
        add(f"--{end}-endpoint-url", metavar="URL", help=f"URL of the {end}'s S3; overrides --endpoint-url")
        add(f"--{end}-region", metavar="REGION", help="region of the first request; default: as configured")
        add(f"--{end}-profile", metavar="NAME", help="profile of the AWS configuration files")
        add(f"--{end}-role", metavar="ARN", help="role to assume, with the credentials of the profile")
        add(f"--{end}-external-id", metavar="ID", help="external id that the role asks for")
        add(
            f"--{end}-addressing-style",
            choices=("auto", "path", "virtual"),
            help="where the bucket's name goes: path, or virtual (host name); default: auto",
        )
        add(f"--{end}-ca-bundle", metavar="FILE", help="certificates to verify the server by")


def read_access(options: argparse.Namespace, end: str) -> S3Access:
    """Return the access of "source" or "destination": the environment's, overridden by options.

    Raises:
        ConfigError: two settings contradict each other.
    """
    given = {
        setting: getattr(options, f"{end}_{option.replace('-', '_')}")
        for option, setting in _SETTINGS.items()
    }
    return S3Access.read(
        _PREFIXES[end], **{name: value for name, value in given.items() if value is not None}
    )


def open_store_session(options: argparse.Namespace, engine: EngineName = "sequential") -> TransferSession:
    """Return a session for the objects of a run, which are at the end of the destination."""
    access = read_access(options, "destination")
    return TransferSession(engine, endpoint_url=options.endpoint_url, source=access, destination=access)
