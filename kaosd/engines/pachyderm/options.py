"""What a person decides about the cluster; no import of gRPC, so that settings can be turned into it at once."""

from __future__ import annotations

from dataclasses import dataclass

BUILDER = "moby/buildkit:v0.32.2-rootless"


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
    builder_image: str = BUILDER
    registry_secret: str | None = None
    plain_registry: bool = False
    pull_secrets: tuple[str, ...] = ()
    service_type: str = "ClusterIP"
    service_port: int = 8888
    service_address: str = "http://{ip}:{port}"
