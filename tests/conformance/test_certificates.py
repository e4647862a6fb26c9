"""Which servers clients trust: S3 and the services that issue its credentials, direct and through a proxy."""

import hashlib
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import trustme
from botocore.credentials import SSOProvider

from asyncstream import S3Object, TransferReport, TransferSession
from asyncstream.engines import EngineName
from asyncstream.errors import ConfigError, ServerNotTrusted
from asyncstream.lab.s3 import LabS3
from tests.servers import LabServer
from tests.servers.tls import ConnectProxy, TlsServer

pytestmark = pytest.mark.loops

YESTERDAY = datetime.now(UTC) - timedelta(days=1)
TOMORROW = datetime.now(UTC) + timedelta(days=1)
# For each service, the profile that fetches credentials from it.
PROFILES = {
    "STS": "role_arn = arn:aws:iam::123456789012:role/r\nsource_profile = q\n"
    "[profile q]\naws_access_key_id = AKIAOWN\naws_secret_access_key = s\n",
    "SSO": "sso_start_url = https://start.example\nsso_region = us-east-1\n"
    "sso_account_id = 123456789012\nsso_role_name = r\n",
}
ANSWERS = {
    "STS": "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>AKIAFETCHED</AccessKeyId>"
    "<SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
    f"<Expiration>{TOMORROW:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
    "SSO": json.dumps(
        {
            "roleCredentials": {
                "accessKeyId": "AKIAFETCHED",
                "secretAccessKey": "s",
                "sessionToken": "t",
                "expiration": int(TOMORROW.timestamp() * 1000),
            }
        }
    ),
}


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def bundle(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file with the certificates that clients trust."""
    path = tmp_path_factory.mktemp("trusted") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


CERTIFICATES: dict[str, Callable[[trustme.CA], trustme.LeafCert]] = {
    "another name": lambda authority: authority.issue_cert("other.example"),
    "expired": lambda authority: authority.issue_cert("localhost", not_before=YESTERDAY, not_after=YESTERDAY),
    "unknown authority": lambda _: trustme.CA().issue_cert("localhost"),
}


@pytest.fixture
def serve(authority: trustme.CA) -> Iterator[Callable[..., TlsServer]]:
    """Start a server that shows a certificate."""
    with ExitStack() as stack:

        def serve(certificate: trustme.LeafCert, text: str = "") -> TlsServer:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            reply = f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}"
            return stack.enter_context(TlsServer(context, lambda _: reply.encode()))

        yield serve


@pytest.fixture(params=CERTIFICATES)
def serve_untrusted(
    request: pytest.FixtureRequest,
    serve: Callable[..., TlsServer],
    authority: trustme.CA,
    bundle: Path,
    trust: Callable[[Path], None],
) -> Callable[..., TlsServer]:
    """Start a server with a certificate that clients must refuse, although they trust the authority."""
    trust(bundle)
    return partial(serve, CERTIFICATES[request.param](authority))


@pytest.fixture(params=["direct", "proxy"])
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ConnectProxy | None]:
    """The proxy in the environment, or None."""
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    if request.param == "direct":
        yield None
        return
    with ConnectProxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        yield proxy


@pytest.fixture(params=["setting", "default"])
def trust(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Make clients trust the authorities of a file: by a setting, or as the default authorities."""
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)

    def trust(bundle: Path) -> None:
        if request.param == "setting":
            monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
        else:
            monkeypatch.setattr("botocore.httpsession.where", lambda: str(bundle))

    return trust


@pytest.fixture(scope="module")
def tls_lab() -> Iterator[LabS3]:
    with LabS3(tls=True) as lab:
        lab.create_bucket("bucket", keep=True)
        lab.declare("bucket", [("a", 20_000_000)])
        yield lab


def fetch_credentials(service: str, port: int, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Configure a profile that fetches S3's credentials from a service at this port."""
    config = directory / "config"
    config.write_text(f"[profile p]\nregion = us-east-1\n{PROFILES[service]}")
    token = {"accessToken": "hidden", "expiresAt": f"{TOMORROW:%Y-%m-%dT%H:%M:%SZ}"}
    cached = hashlib.sha1(b"https://start.example", usedforsecurity=False).hexdigest()
    (directory / f"{cached}.json").write_text(json.dumps(token))
    monkeypatch.setattr(SSOProvider, "_SSO_TOKEN_CACHE_DIR", str(directory))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "p")
    monkeypatch.setenv(f"AWS_ENDPOINT_URL_{service}", f"https://localhost:{port}")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")  # it would take precedence
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


def copy_one(engine: EngineName, endpoint_url: str, bucket: str = "bucket") -> TransferReport:
    with TransferSession(engine, endpoint_url=endpoint_url) as session:
        return session.transfer([(S3Object(bucket, "a"), S3Object(bucket, "b"))])


@pytest.mark.parametrize("trust", ["setting"], indirect=True)
def test_s3_with_a_wrong_certificate_is_sent_nothing(
    engine: EngineName,
    proxy: ConnectProxy | None,
    serve_untrusted: Callable[..., TlsServer],
    credentials: None,
) -> None:
    server = serve_untrusted()

    report = copy_one(engine, f"https://localhost:{server.port}")

    [failed] = report.failed
    assert type(failed.error) is ServerNotTrusted
    assert f"localhost:{server.port}" in str(failed.error)
    assert (server.heads, server.connections) == ([], 1)
    assert proxy is None or proxy.asked == [f"CONNECT localhost:{server.port}"]


@pytest.mark.parametrize("service", PROFILES)
@pytest.mark.parametrize("trust", ["setting"], indirect=True)
def test_credentials_are_not_asked_of_an_untrusted_server(
    engine: EngineName,
    service: str,
    proxy: ConnectProxy | None,
    serve_untrusted: Callable[..., TlsServer],
    lab_server: LabServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    server = serve_untrusted(ANSWERS[service])
    fetch_credentials(service, server.port, monkeypatch, tmp_path)

    report = copy_one(engine, lab_server.endpoint_url)

    [failed] = report.failed
    assert type(failed.error) is ServerNotTrusted
    assert f"localhost:{server.port}" in str(failed.error)
    assert (server.heads, server.connections) == ([], 1)
    assert proxy is None or proxy.asked == [f"CONNECT localhost:{server.port}"]


@pytest.mark.parametrize("service", PROFILES)
def test_credentials_are_fetched_from_a_trusted_server(
    engine: EngineName,
    service: str,
    proxy: ConnectProxy | None,
    trust: Callable[[Path], None],
    authority: trustme.CA,
    bundle: Path,
    serve: Callable[..., TlsServer],
    lab_server: LabServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    bucket = lab_server.new_bucket()
    bucket.put("a", b"bytes")
    trust(bundle)
    server = serve(authority.issue_cert("localhost"), ANSWERS[service])
    fetch_credentials(service, server.port, monkeypatch, tmp_path)

    report = copy_one(engine, lab_server.endpoint_url, bucket.name)

    assert report.failed == []
    assert bucket.get("b") == b"bytes"
    secret = {"STS": "authorization: aws4-hmac-sha256", "SSO": "x-amz-sso_bearer_token: hidden"}[service]
    assert all(secret in head for head in server.heads)
    assert server.heads
    assert proxy is None or f"CONNECT localhost:{server.port}" in proxy.asked
    bucket.empty()


def test_a_trusted_s3_is_copied_from(
    engine: EngineName,
    trust: Callable[[Path], None],
    proxy: ConnectProxy | None,
    tls_lab: LabS3,
    credentials: None,
) -> None:
    trust(Path(tls_lab.environment()["AWS_CA_BUNDLE"]))

    report = copy_one(engine, tls_lab.endpoint_url)

    assert report.failed == []
    assert tls_lab.checksums("bucket", "b")["b"].crc64nvme == tls_lab.checksums("bucket", "a")["a"].crc64nvme
    assert proxy is None or proxy.asked


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_a_bundle_without_a_name_is_refused(
    engine: EngineName, name: str, credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """botocore before 1.43 would not verify any certificate."""
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    monkeypatch.setenv(name, "")

    with pytest.raises(ConfigError, match=name):
        copy_one(engine, "https://localhost:1")
