"""What a person decides about images and hosts, as the engine takes it; no import of gRPC."""

from __future__ import annotations

from dataclasses import dataclass, fields

from kaosd.errors import ConfigError
from kaosd.settings import PachydermTable

_USUAL = PachydermTable()


@dataclass(frozen=True, slots=True)
class Options:
    """How images are made and hosts are reached.

    registry: what images are called before their name, as "registry.example.com/team". buildkit: address of a
    buildkitd, None: each build brings its own, rootless. registry_secret: an Opaque secret with a config.json, None:
    the registry asks for nothing. plain_registry: it speaks HTTP. pull_secrets: of type dockerconfigjson.
    service_type: ClusterIP, NodePort or LoadBalancer. service_port: of the service. service_address: where the front
    reaches it; {ip} {port} {name} {project} are filled in.
    """

    registry: str
    buildkit: str | None = None
    builder_image: str = _USUAL.builder_image
    registry_secret: str | None = None
    plain_registry: bool = False
    pull_secrets: tuple[str, ...] = ()
    service_type: str = _USUAL.service_type
    service_port: int = _USUAL.service_port
    service_address: str = _USUAL.service_address

    @classmethod
    def of(cls, settings: PachydermTable) -> Options:
        """Those of the settings, where they have the same names; ConfigError when there is no registry."""
        if settings.registry is None:
            hint = 'write where images are pushed to, as "registry.example.com/team"'
            raise ConfigError("pachyderm.registry is missing", hint=hint)
        return cls(**{field.name: getattr(settings, field.name) for field in fields(cls)})
