"""Server extension of a host in a pod: the notebook's directory, for the daemon, which cannot see it otherwise.

GET  <base_url>kaosd/pod         what this host is, what it holds, and its kernels
POST <base_url>kaosd/pod/look    {"paths": [path, …] or null for all} → {"states": {path: [kind, SHA-256] or null}}
POST <base_url>kaosd/pod/read    {"path"} → the content of a file, or the target of a link
POST <base_url>kaosd/pod/part    a part of a large content, put at the end of the part NAME (?name=…&start=bytes)
POST <base_url>kaosd/pod/change  a line of JSON, then contents: {"server", "before", "changes", "after"}
POST <base_url>kaosd/pod/leave   {"why"}: this host is about to be replaced; tabs get a notice, what is open is saved

The daemon decides what becomes of a path. A change names the state that the daemon has seen there, and is made only if
that is still so: what a person or a kernel wrote in between is never lost. Until the daemon has said what the directory
holds ("after") nothing else is answered: no reader sees a directory without the code that is deployed.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from http import HTTPStatus
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import ensure_async, url_path_join
from tornado import web

from . import podtree

OPEN = ("api/status", "kaosd/pod")  # what is answered before the code is there, with what lies below


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    place = os.environ["KAOSD_POD"]
    directory = PodDirectory(server, place)
    root = url_path_join(server.base_url, "kaosd", "pod")
    questions = {"look": directory.look, "change": directory.change, "leave": directory.leave, "part": directory.part}
    routes: list[Any] = [
        (root, Info, {"directory": directory}),
        (url_path_join(root, "read"), Read, {"directory": directory}),
    ]
    routes += [(url_path_join(root, name), PodQuestion, {"answer": answer}) for name, answer in questions.items()]
    server.web_app.add_handlers(".*$", routes)
    _close(server, directory)


def _close(server: Any, directory: PodDirectory) -> None:
    """Answer nothing but OPEN until the directory holds what the daemon has brought."""
    application = server.web_app
    find = application.find_handler
    ours = tuple(url_path_join(server.base_url, path) for path in OPEN)

    def find_handler(request: Any, **named: Any) -> Any:
        if directory.trees is None and not request.path.startswith(ours):
            return application.get_handler_delegate(request, NotYet)
        return find(request, **named)

    application.find_handler = find_handler


class NotYet(web.RequestHandler):
    """Whatever is asked before the code is there."""

    def check_xsrf_cookie(self) -> None:
        """Answer those as well that have none."""

    def prepare(self) -> None:
        """Say so."""
        self.set_header("Retry-After", "1")
        self.set_status(HTTPStatus.SERVICE_UNAVAILABLE)
        self.finish("The notebook's code is on its way.")


class PodDirectory:
    """The notebook's directory. place: a directory of the host's own in its container.

    trees: the versions that the daemon has named as those that may be in it; None before it has. They outlive the
    server, not the container, just as the directory itself.
    """

    def __init__(self, server: Any, place: str) -> None:
        self._server = server
        self._place = place
        self._one = asyncio.Lock()  # change at a time
        self._root = os.fsencode(server.root_dir)
        self._id = uuid.uuid4().hex
        self._manifest = _json(os.path.join(place, "manifest.json")) or {}
        self.trees: list[str] | None = _json(os.path.join(place, "trees.json"))
        self._seed = self._seeded()

    def _seeded(self) -> dict[str, list[str]]:
        """What the build of the image has made in the directory, which is not an edit."""
        path = os.path.join(self._place, "seed.json")
        if self.trees is None:
            with open(path, "w", encoding="utf-8") as file:
                json.dump({os.fsdecode(one): found for one, found in podtree.everything(self._root).items()}, file)
        return _json(path) or {}

    async def info(self) -> dict[str, Any]:
        """Answer what this host is. environment: digest of what its image was made of, by the image itself."""
        kernels = await ensure_async(self._server.kernel_manager.list_kernels())
        return {
            "server": self._id,
            "environment": self._manifest.get("environment"),
            "trees": self.trees,
            "kernels": len(kernels),
            "busy": sum(kernel["execution_state"] == "busy" for kernel in kernels),
        }

    async def look(self, body: bytes, _arguments: Any) -> dict[str, Any]:
        """Answer the states of some paths, or of all that was put there since the image was made, but caches."""
        paths = json.loads(body)["paths"]
        found = await _apart(podtree.everything, self._root) if paths is None else await _apart(self._states, paths)
        states = {os.fsdecode(path): state for path, state in found.items()}
        if paths is None:
            seed = self._seed
            states = {path: state for path, state in states.items() if path not in seed or [*state] != seed[path]}
        return {"states": states}

    def _states(self, paths: list[str]) -> dict[bytes, Any]:
        return {path: podtree.state(os.path.join(self._root, path)) for path in map(os.fsencode, paths)}

    def full(self, path: str) -> bytes:
        """Where a path is. Raises HTTPError for one that leads out of the directory."""
        name = os.fsencode(path)
        if not podtree.inside(name):
            raise web.HTTPError(400, f"no path of the notebook: {path!r}")
        return os.path.join(self._root, name)

    async def part(self, body: bytes, arguments: Any) -> dict[str, Any]:
        """Put *body* into a part, from byte *start* on."""
        path = os.path.join(self._place, f"part-{int(arguments('name'))}")
        await _apart(podtree.put_part, path, int(arguments("start")), body)
        return {}

    async def change(self, body: bytes, _arguments: Any) -> dict[str, Any]:
        """Make changes one after another, while the states that they expect are found.

        "changes": [{"path", "expected": state or null, "kind": or null to delete, "size", "part": number or null}, …];
        the contents follow in order. → {"server", "outcomes": [{"done"} or {"found": state, "at": path}, …]}. The first
        that cannot be made is the last one. before, after: versions that may be in the directory from then on.
        """
        head, _, contents = body.partition(b"\n")
        asked = json.loads(head)
        async with self._one:
            if asked["server"] != self._id:
                return {"server": self._id, "outcomes": []}
            self._note(asked["before"])
            outcomes = await _apart(self._make, asked["changes"], contents)
            if len(outcomes) == len(asked["changes"]) and all(outcome.get("done") for outcome in outcomes):
                self._note(asked["after"])
        return {"server": self._id, "outcomes": outcomes}

    def _make(self, changes: list[dict[str, Any]], contents: bytes) -> list[dict[str, Any]]:
        outcomes: list[dict[str, Any]] = []
        at = 0
        for change in changes:
            content = contents[at : at + change["size"]]
            at += change["size"]
            part = None if change["part"] is None else os.path.join(self._place, f"part-{int(change['part'])}")
            outcomes.append(podtree.make(self._root, change, content, part))
            if not outcomes[-1].get("done"):
                break
        return outcomes

    def _note(self, trees: list[str] | None) -> None:
        if trees is None or trees == self.trees:
            return
        path = os.path.join(self._place, "trees.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(trees, file)
        os.replace(path + ".new", path)
        self.trees = trees

    async def leave(self, body: bytes, _arguments: Any) -> dict[str, Any]:
        """Tell the tabs, and save what is open in them."""
        await self._server.web_app.settings["kaosd_leave"](json.loads(body)["why"])
        return {}


class Info(APIHandler):
    """See PodDirectory.info."""

    auth_resource = "contents"

    def initialize(self, directory: PodDirectory) -> None:
        """directory: what is reported."""
        self._directory = directory

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Answer."""
        self.finish(json.dumps(await self._directory.info()))


class PodQuestion(APIHandler):
    """A question to the directory."""

    auth_resource = "contents"

    def initialize(self, answer: Any) -> None:
        """answer: a method of PodDirectory."""
        self._answer = answer

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Answer."""
        self.finish(json.dumps(await self._answer(self.request.body, self.get_query_argument)))


class Read(APIHandler):
    """The content of one path, as it is; whoever reads compares it with what was looked at."""

    auth_resource = "contents"

    def initialize(self, directory: PodDirectory) -> None:
        """directory: what is read from."""
        self._directory = directory

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Answer."""
        full = self._directory.full(json.loads(self.request.body)["path"])
        self.set_header("Content-Type", "application/octet-stream")
        try:
            parts = podtree.parts(full)
            while (part := await _apart(next, parts, None)) is not None:
                self.write(part)
                await self.flush()
        except OSError as error:
            raise web.HTTPError(404, str(error)) from error
        self.finish()


async def _apart(function: Any, *arguments: Any) -> Any:
    """Run what reads or writes files in a thread."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


def _json(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, ValueError):
        return None
