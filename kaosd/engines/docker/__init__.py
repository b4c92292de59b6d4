"""The docker engine: environments are images of the bundle's own Dockerfile, hosts are containers.

Works with every engine that speaks Docker's API on a Unix socket of this machine: Docker, rootless Docker, Podman.
"""

from kaosd.engines.docker.engine import DockerEngine

__all__ = ["DockerEngine"]
