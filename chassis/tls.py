"""TLS: servers with certificates from files, read again when they change, and channels that trust a CA."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import structlog

from chassis.errors import FailedPrecondition

if TYPE_CHECKING:  # reading settings is slow to import, and a probe runs every few seconds
    from chassis.config import ServerConfig

log = structlog.get_logger(__name__)


class CertificateUnusable(FailedPrecondition):
    """A file of TLS cannot be read, or two do not belong together."""

    reason = "CERTIFICATE_UNUSABLE"


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """PEM files of a server.

    Attributes:
        cert: its certificate, with those of the CAs between.
        key: the private key of it.
        client_ca: callers must show a certificate of this CA; None asks for none.
    """

    cert: Path
    key: Path
    client_ca: Path | None = None

    def ssl_context(self) -> ssl.SSLContext:
        """What Python's servers take; a new certificate counts from the next handshake on.

        Raises:
            CertificateUnusable: a file cannot be read, or the key is of another certificate.
        """
        changes = _Changes(self)
        context = latest = self.load()

        def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
            nonlocal latest
            latest = changes.load() or latest
            connection.context = latest

        context.sni_callback = choose
        return context

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """What gRPC's servers take; a new certificate counts from the next connection on. Raises as `ssl_context`."""
        changes = _Changes(self)
        self.load()

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            return self._configuration() if changes.load() else None

        # The type stubs do not know that None keeps the certificate.
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(),
            fetch,  # type: ignore[arg-type]
            require_client_authentication=self.client_ca is not None,
        )

    def state(self) -> tuple[int, ...]:
        """Is another one when a file has changed."""
        files = [each for each in (self.cert, self.key, self.client_ca) if each]
        try:
            return tuple(each.stat().st_mtime_ns for each in files)
        except OSError:
            return ()

    def load(self) -> ssl.SSLContext:
        """A context of the files as they are now; raises `CertificateUnusable`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.cert, self.key)
            if self.client_ca:
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            raise CertificateUnusable(
                f"Cannot use the certificate {self.cert} with the key {self.key}"
                f"{f' and the CA {self.client_ca}' if self.client_ca else ''}: {error.strerror or error}."
            ) from error
        return context

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        ca = self.client_ca.read_bytes() if self.client_ca else None
        return grpc.ssl_server_certificate_configuration([(self.key.read_bytes(), self.cert.read_bytes())], ca)


class _Changes:
    """Files that may have changed since they were last looked at."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._state = files.state()

    def load(self) -> ssl.SSLContext | None:
        """The context of changed files; None where nothing changed, or they cannot be used: the old one counts."""
        state = self._files.state()
        if state == self._state:
            return None
        self._state = state
        try:
            context = self._files.load()
        except CertificateUnusable as error:
            log.warning("certificate_kept", error=error.message)
            return None
        log.info("certificate_loaded", file=str(self._files.cert))
        return context


def certificate_files(config: "ServerConfig") -> CertificateFiles | None:
    """The files that a server is configured with; None for a server without TLS.

    Raises:
        CertificateUnusable: only one of certificate and key is set, or a CA for clients without them.
    """
    if not config.tls_cert_file and not config.tls_key_file and not config.tls_client_ca_file:
        return None
    if not config.tls_cert_file or not config.tls_key_file:
        raise CertificateUnusable("TLS needs both: set TLS_CERT_FILE and TLS_KEY_FILE, or none of them.")
    return CertificateFiles(config.tls_cert_file, config.tls_key_file, config.tls_client_ca_file)


def channel_credentials(ca: Path | None, cert: Path | None, key: Path | None) -> grpc.ChannelCredentials | None:
    """What channels to other servers take; None for channels without TLS.

    Args:
        ca: of their certificates.
        cert: to show them, where they ask for one.
        key: the private key of it.

    Raises:
        CertificateUnusable: a file cannot be read, or one that is needed is not named.
    """
    if ca is None and cert is None and key is None:
        return None
    if ca is None or (cert is None) != (key is None):
        raise CertificateUnusable("Calls over TLS need the file of a CA, and a certificate and its key, or neither.")
    try:
        roots, chain, private = (each.read_bytes() if each else None for each in (ca, cert, key))
    except OSError as error:
        raise CertificateUnusable(f"Cannot read {error.filename}: {error.strerror}.") from error
    return grpc.ssl_channel_credentials(roots, private, chain)


def new_channel(
    module: Any,
    target: str,
    credentials: grpc.ChannelCredentials | None,
    options: Sequence[tuple[str, Any]] = (),
    **further: Any,
) -> Any:
    """A channel of the module `grpc` or `grpc.aio`: over TLS where there are credentials."""
    if credentials:
        return module.secure_channel(target, credentials, options=options, **further)
    return module.insecure_channel(target, options=options, **further)
