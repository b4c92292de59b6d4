"""From the settings, or pachctl's own, to the engine. What cannot be used is one sentence for the person."""

from __future__ import annotations

import base64
import binascii
import json
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaosd.engines.pachyderm.connection import Cluster
from kaosd.engines.pachyderm.engine import PachydermEngine
from kaosd.engines.pachyderm.options import Options
from kaosd.errors import ConfigError
from kaosd.settings import PachydermTable


def make_engine(settings: PachydermTable, place: Path, environ: Mapping[str, str] = os.environ) -> PachydermEngine:
    """The engine for these settings, which keeps its files in *place*. Nothing is connected to yet. ConfigError."""
    options = Options.of(settings)
    return PachydermEngine(cluster_of(settings, environ), options, place, start_within=settings.start_within)


def cluster_of(settings: PachydermTable, environ: Mapping[str, str]) -> Cluster:
    """The cluster that the settings name, or else the one of pachctl's active context."""
    context = _context(environ) if settings.address is None else {}
    scheme, _, rest = (settings.address or context.get("pachd_address") or "").rpartition("://")
    if not rest:
        raise ConfigError(
            "pachyderm.address is missing, and pachctl has no active context with a pachd_address",
            hint='write address = "grpc://host:port" in [pachyderm]',
        )
    roots = _file(settings.ca_file, "ca_file") if settings.ca_file is not None else _roots_of(context)
    if roots is None and scheme in ("grpcs", "https"):
        roots = _system_roots()
    token = settings.token
    if settings.token_file is not None:
        token = _file(settings.token_file, "token_file").decode("ascii", "replace").strip()
    return Cluster(
        address=rest,
        project=settings.project or context.get("project") or "default",
        token=token or context.get("session_token"),
        roots=roots,
    )


def _context(environ: Mapping[str, str]) -> dict[str, Any]:
    """The active context of pachctl's configuration; empty when there is none."""
    path = Path(environ.get("PACH_CONFIG") or Path(environ.get("HOME", "/"), ".pachyderm", "config.json"))
    try:
        v2 = json.loads(path.read_text())["v2"]
        context: dict[str, Any] = v2["contexts"][v2["active_context"]]
    except FileNotFoundError:
        return {}
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ConfigError(
            f"{path} names no active context: {error!r}", hint="pachctl config set active-context"
        ) from error
    return context


def _roots_of(context: Mapping[str, Any]) -> bytes | None:
    try:
        return base64.b64decode(context["server_cas"], validate=True) if context.get("server_cas") else None
    except (binascii.Error, TypeError) as error:
        raise ConfigError("server_cas of pachctl's active context is not base64") from error


def _system_roots() -> bytes:
    path = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    return _file(path, "ca_file")


def _file(path: str, key: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"pachyderm.{key}: {path} cannot be read: {error.strerror}") from error
