"""Configuration from the environment: one pydantic-settings class a service, built once at the start.

A setting may also be a file, as secrets are mounted: named as its variable in lower case, in the folder
BACKDROP_SECRETS_DIR or, where that can be read, /run/secrets. A variable wins over a file.
"""

import difflib
import os
import sys
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

SECRETS_DIR = Path("/run/secrets")
"""Where Docker mounts secrets: read when it can be and BACKDROP_SECRETS_DIR names no other folder."""


class ServerConfig(BaseSettings):
    """What every server can be told. A service subclasses it and sets its own `env_prefix` and `port`."""

    model_config = SettingsConfigDict(
        env_file=".env",
        # An empty path would be the working directory.
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on; `0.0.0.0` for all interfaces."""

    port: int = Field(default=0, ge=0, le=65535)
    """Port to listen on for gRPC; 0 takes a free one."""

    tls_cert_file: Path | None = None
    """PEM file of the server's certificate, with those of the CAs between: it speaks TLS, and nothing else. A new file
    counts without a restart."""

    tls_key_file: Path | None = None
    """PEM file of the certificate's private key."""

    tls_client_ca_file: Path | None = None
    """PEM file of a CA: only callers with a certificate of it are let in (mutual TLS)."""

    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Port to serve Prometheus metrics on (`/metrics`); 0 serves none."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe log lines to write."""

    log_format: Literal["json", "console"] = "json"
    """One JSON object a line, or text for a person."""

    shutdown_delay_s: float = Field(default=0, ge=0)
    """Seconds between turning NOT_SERVING and refusing calls, so that load balancers notice first."""

    drain_s: float = Field(default=10, ge=0)
    """Seconds that calls in flight get to finish at shutdown. What stops the process must wait longer than both."""

    max_connection_age_s: float = Field(default=0, ge=0)
    """Seconds after which clients are told to connect anew, so that they look the server's name up again and find new
    replicas; calls in flight finish on the old connection. 0 never does."""

    max_message_mib: int = Field(default=64, ge=1)
    """Largest gRPC message in MiB, either way. Photos are limited further, with a clearer error."""

    health_interval_s: float = Field(default=2, gt=0)
    """Seconds between two looks at what readiness depends on."""


Config = TypeVar("Config", bound=ServerConfig)


def load(config_class: type[Config]) -> Config:
    """Builds the configuration from environment, `./.env` and secrets, or ends the process with all problems listed."""
    try:
        secrets = _secrets_dir()
        config = config_class(_secrets_dir=secrets)  # type: ignore[call-arg]  # mypy sees the fields alone.
        problems = _misspelt(config_class, secrets)
    except ValidationError as error:
        problems = [f"{env_name(config_class, str(each['loc'][0]))}: {each['msg']}" for each in error.errors()]
    except SettingsError as error:
        problems = [str(error)]
    except OSError as error:
        problems = [f"BACKDROP_SECRETS_DIR: {error.filename}: {error.strerror}"]
    if not problems:
        return config
    print("Bad configuration:", *problems, sep="\n  ", file=sys.stderr)
    sys.exit(2)


def env_name(config_class: type[ServerConfig], field: str) -> str:
    """The environment variable that sets `field`."""
    return f"{config_class.model_config.get('env_prefix', '')}{field}".upper()


def _secrets_dir() -> Path | None:
    named = os.environ.get("BACKDROP_SECRETS_DIR")
    if not named:
        # It may be there for others than us.
        return SECRETS_DIR if os.access(SECRETS_DIR, os.R_OK | os.X_OK) else None
    os.listdir(named)  # A folder that is asked for must be there; pydantic-settings only warns.
    return Path(named)


def _misspelt(config_class: type[ServerConfig], secrets: Path | None) -> list[str]:
    """Variables and files with the service's prefix that set nothing: most likely a typing mistake."""
    known = [env_name(config_class, field) for field in config_class.model_fields]
    prefix = config_class.model_config.get("env_prefix", "")
    found = {*os.environ, *(file.name.upper() for file in (secrets.iterdir() if secrets else ()))}
    unknown = [name for name in found if prefix and name.startswith(prefix) and name not in known]
    return [f"{name}: no such setting{_suggestion(name, known)}" for name in sorted(unknown)]


def _suggestion(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
