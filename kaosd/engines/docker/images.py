"""The images of environments: *repository*:<digest>, found, looked into, collected."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from kaosd.declared.image import START_LABEL
from kaosd.engines.docker import seed
from kaosd.engines.docker.connection import EngineConnection, NoSuchThing, remove_container
from kaosd.errors import EngineError

_CONTEXT = "/.kaosd/context"
CACHED = 3600.0  # seconds for which the layers of a failed build are kept, for the next one to start with


@dataclass(frozen=True, slots=True)
class Images:
    """Our images. label: "name=value" that all of them carry."""

    connection: EngineConnection
    repository: str
    label: str

    async def find(self, digest: str) -> str | None:
        """The id of the image of an environment, if it is there. Raises EngineError."""
        try:
            found = await self.connection.call(lambda client: client.inspect_image(f"{self.repository}:{digest}"))
        except NoSuchThing:
            return None
        return cast(str, found["Id"])

    async def says(self, image: str) -> tuple[str | None, str]:
        """The working directory that an image names, None for none or the root; what it runs first, or ""."""
        found = (await self.connection.call(lambda client: client.inspect_image(image))).get("Config") or {}
        named, labels = found.get("WorkingDir") or "/", found.get("Labels") or {}
        return None if named == "/" else cast(str, named), str(labels.get(START_LABEL, ""))

    async def collect(self, keep: frozenset[str], busy: Callable[[], bool]) -> None:
        """Remove the names of environments not in *keep*, and all the rest of ours after the last one.

        Nothing more once it is *busy*: what is being built or started may need what it was listed without.

        What has no name, as a failed build leaves it, serves the next build for a while, and goes then.
        """
        used = {one["ImageID"] for one in await self._list(lambda client: client.containers(all=True))}
        ours = await self._list(lambda client: client.images(filters={"label": [self.label]}))
        left, unwanted = False, []
        for image in ours:
            for name in _names(image, self.repository):
                if name.rpartition(":")[2] in keep or image["Id"] in used:
                    left = True
                else:
                    unwanted.append(name)
        for image in ours:
            named = set(image.get("RepoTags") or ()) - {"<none>:<none>"}  # by others, who built upon ours
            if named or image["Id"] in used:
                continue
            if not left or image["Created"] < time.time() - CACHED:
                unwanted.append(image["Id"])
        for one in unwanted:
            if not busy():
                await self._remove(one)
        if not left and not busy():
            with contextlib.suppress(EngineError):
                await self.connection.call(lambda client: client.remove_volume(f"{self.repository}-cache"))

    async def _list(self, ask: Any) -> list[dict[str, Any]]:
        return await self.connection.call(ask)

    async def _remove(self, name: str) -> None:
        """Remove a name, and the image with its last one; one that something else was built from stays."""
        with contextlib.suppress(EngineError):
            await self.connection.call(lambda client: client.remove_image(name))

    def bring(self, client: Any, image: str, workdir: str, work: Path, listing: Path) -> int:
        """Bring what the build of *image* made in its working directory to *work*; see seed. Blocking."""
        import docker

        name, _, value = self.label.partition("=")
        container = client.create_container(image, entrypoint=["/bin/sh"], labels={name: value})["Id"]
        try:
            context = seed.read_context(_file(client.get_archive(container, _CONTEXT)[0]))
            return seed.bring(_file(client.get_archive(container, workdir)[0]), context, work, listing)
        except docker.errors.NotFound:
            return 0  # an image of another kind, or one that names a directory without having it
        finally:
            remove_container(client, container)


def _names(image: Mapping[str, Any], repository: str) -> list[str]:
    """Those names of an image that we gave."""
    return [name for name in image.get("RepoTags") or () if f"{repository}:" in name]


def _file(pieces: Iterable[bytes]) -> Any:
    return seed.Pieces(pieces)
