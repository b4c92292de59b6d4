"""What a container engine says of itself, and what of it matters to us. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LIMITS = ("memory", "cpu")


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an engine is. address: "unix:///path". version: as it calls itself, for people.

    rootless: it runs as a person, who is root inside of its containers. remapped: it runs as root, and its containers
    have other user ids than this machine. desktop: it runs in a virtual machine of its own. memory: bytes that the
    machine has. unlimited: those of LIMITS that it cannot hold a container to.
    root: the directory of its images and containers; "" when it does not say. driver: by which it keeps them.
    groups: the version of control groups.
    """

    address: str
    version: str
    podman: bool
    rootless: bool
    remapped: bool
    selinux: bool
    desktop: bool
    memory: int
    unlimited: tuple[str, ...]
    root: str
    driver: str
    groups: str

    @property
    def release(self) -> tuple[int, ...]:
        """The numbers at the head of the version; () when it has none."""
        found = re.match(r"[0-9]+(\.[0-9]+)*", self.version.partition(" ")[2])
        return tuple(map(int, found[0].split("."))) if found else ()

    @classmethod
    def of(
        cls, address: str, info: Mapping[str, Any], version: Mapping[str, Any], libpod: Mapping[str, Any] | None
    ) -> EngineFacts:
        """From the answers to GET /info, /version and Podman's own /libpod/info (None where there is no Podman).

        The first of them says nothing of being rootless on Podman, and names limits that are not enforced there.
        """
        options = [option.split(",")[0] for option in info.get("SecurityOptions") or ()]
        rootless, groups = "name=rootless" in options, str(info.get("CgroupVersion") or "")
        able = {"memory": bool(info.get("MemoryLimit", True)), "cpu": bool(info.get("CpuCfsQuota", True))}
        if libpod is not None:
            host = libpod.get("host") or {}
            rootless = bool((host.get("security") or {}).get("rootless"))
            if rootless:
                able = {name: name in (host.get("cgroupControllers") or ()) for name in LIMITS}
        return cls(
            address=address,
            version=f"{'Docker' if libpod is None else 'Podman'} {_number(info, version, libpod)}",
            podman=libpod is not None,
            rootless=rootless,
            remapped="name=userns" in options and not rootless,
            selinux="name=selinux" in options,
            desktop="desktop" in str(info.get("OperatingSystem", "")).lower(),
            memory=int(info.get("MemTotal") or 0),
            unlimited=tuple(name for name in LIMITS if not able[name]),
            root=str(info.get("DockerRootDir") or ""),
            driver=str(info.get("Driver") or ""),
            groups=groups,
        )


def is_podman(version: Mapping[str, Any]) -> bool:
    """Whether the answer to GET /version is Podman's."""
    return any("podman" in str(part.get("Name", "")).lower() for part in version.get("Components") or ())


def _number(info: Mapping[str, Any], version: Mapping[str, Any], libpod: Mapping[str, Any] | None) -> str:
    if libpod is not None:
        return str((libpod.get("version") or {}).get("Version") or version.get("Version") or "")
    return str(info.get("ServerVersion") or version.get("Version") or "")
