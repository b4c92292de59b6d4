"""A daemon in memory behind a real control socket."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from wire import Client

from kaosd.api import Api, Limits
from kaosd.errors import ConflictError, NotFoundError, StoreError


class Memory:
    """A daemon whose notebooks are entries of a dictionary. calls: the changes that were asked for."""

    def __init__(self):
        self.notebooks = {"mnist": {"name": "mnist", "state": "live"}}
        self.calls = []
        self.published = []
        self.news = asyncio.Condition()
        self.waiting = 0
        self.settled = asyncio.Event()
        self.big = ""
        self.daemon = self.reports = self.files = self
        self.lifecycle = Lifecycle(self)

    def _one(self, name):
        if name not in self.notebooks:
            raise NotFoundError(f"there is no notebook {name!r}", hint="there are: mnist")
        return self.notebooks[name]

    def _call(self, what, name, /, **values):
        shown = self._one(name)
        self.calls.append((what, name, values))
        return shown

    async def status(self):
        return {"schema": 1, "notebooks": list(self.notebooks.values()), "big": self.big}

    async def metrics(self):
        return "kaosd_info 1\n"

    async def version(self):
        return {"version": "0.1.0", "schema": 1}

    async def certain(self, name):
        """It always is."""

    async def notebook(self, name):
        return self._one(name)

    async def history(self, name):
        return {"pinned": None, "deployments": [self._one(name)]}

    async def environment(self, name):
        return {"name": self._one(name)["name"], "packages": []}

    async def outdated(self, name):
        return {"name": self._one(name)["name"], "outdated": []}

    async def dockerfile(self, name):
        return {"name": self._one(name)["name"], "made_from": [], "dockerfile": "FROM a\n"}

    async def edits(self, name):
        return {"name": self._one(name)["name"], "files": []}

    async def diff(self, name, path):
        return {"name": self._one(name)["name"], "files": [path]}

    async def between(self, name, first, last):
        return {"name": self._one(name)["name"], "from": first, "to": last}

    async def since_copy(self, name, copy):
        return {"name": self._one(name)["name"], "from": copy}

    async def recovered(self, name):
        return {"recovered": [self._one(name)]}

    async def logs(self, name, query):
        return {"of": self._one(name)["name"], "query": query}

    async def why(self, path):
        return {"path": path, "counts": True}

    async def doctor(self):
        raise StoreError("the disk is full", hint="make room")

    async def publish(self, kind):
        async with self.news:
            self.published.append({"seq": len(self.published) + 1, "kind": kind})
            self.news.notify_all()

    async def events(self, after, timeout):
        self.waiting += 1
        try:
            async with asyncio.timeout(timeout), self.news:
                await self.news.wait_for(lambda: len(self.published) > after)
        except TimeoutError:
            return {"events": [], "last": after, "gap": False}
        finally:
            self.waiting -= 1
        return {"events": self.published[after:], "last": len(self.published), "gap": False}

    async def hand_over(self, name):
        if name:
            self._one(name)
        self.calls.append(("open", name, {}))
        return {"url": f"http://front/{name + '/' if name else ''}kaosd/once/c0de", "seconds": 120.0}

    async def add(self, name, packages):
        return self._call("add", name, packages=packages)

    async def clear(self, name):
        return self._call("clear", name)

    async def pull(self, name, fields):
        return self._call("pull", name, **fields)

    async def reset(self, name, fields):
        return self._call("reset", name, **fields)

    async def restore(self, name, path):
        return self._call("restore", name, path=path)

    async def backup(self, file):
        self.calls.append(("backup", "", {"file": file}))
        return {"file": file, "bytes": 1}

    async def reload(self):
        self.calls.append(("reload", "", {}))
        return {"changed": []}

    async def stop(self):
        self.calls.append(("stop", "", {}))
        return {}


class Lifecycle:
    """The part of it that changes notebooks."""

    def __init__(self, of):
        self.of = of

    async def wait(self, name, timeout, tries):
        self.of._one(name)
        self.of.waiting += 1
        try:
            async with asyncio.timeout(timeout):
                await self.of.settled.wait()
        except TimeoutError:
            return {"outcome": "timeout"}
        finally:
            self.of.waiting -= 1
        return {"outcome": "live"}

    async def deploy(self, request, *, replacing):
        if request.get("name") == "bug":
            raise ZeroDivisionError("the secret inside")
        self.of.notebooks[request["name"]] = dict(request)
        return self.of._call("deploy", request["name"], **request, replacing=replacing)

    async def redeploy(self, name, *, force, now, when_idle):
        return self.of._call("redeploy", name, force=force, now=now, when_idle=when_idle)

    async def pause(self, name):
        return self.of._call("pause", name)

    async def resume(self, name):
        return self.of._call("resume", name)

    async def start(self, name):
        return self.of._call("start", name)

    async def stop(self, name):
        return self.of._call("stop", name)

    async def restart(self, name, *, kernels):
        return self.of._call("restart", name, kernels=kernels)

    def run(self, name, asked):
        self.of._call("run", name, **asked)
        return self._events(asked)

    async def _events(self, asked):
        try:
            if asked["notebook"] == "none.ipynb":
                raise NotFoundError("none.ipynb is not a file of mnist")
            yield {"event": "started", "cells": 1}
            await self.of.settled.wait()
            raise StoreError("the host went away", hint="look")
        finally:
            self.of.calls.append(("closed", "", {}))

    async def cancel(self, name):
        self.of._one(name)
        raise ConflictError(f"notebook {name!r} has no build in flight")

    async def rollback(self, name, to):
        return self.of._call("rollback", name, to=to)

    async def kill(self, name, unwanted):
        del self.of.notebooks[self.of._call("kill", name, unwanted=unwanted)["name"]]
        return {"killed": name}


@pytest.fixture
def place():
    """A private directory with a short name: paths of sockets are short."""
    directory = Path(tempfile.mkdtemp(prefix="k", dir="/tmp"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def path(place):
    return place / "run" / "kaosd.sock"


@pytest.fixture
async def daemon():
    return Memory()


@pytest.fixture
async def start(daemon, path):
    """Starts an Api; it is closed at the end. Arguments: fields of Limits, and peers."""
    async with AsyncExitStack() as stack:

        async def started(*, peers=None, **limits):
            api = Api(daemon, path, limits=Limits(**limits), peers=peers)
            await api.start()
            stack.push_async_callback(api.close)
            return api

        yield started


@pytest.fixture
async def api(start):
    return await start()


@pytest.fixture
async def connect(path):
    """Opens connections; those that are left are closed at the end."""
    async with AsyncExitStack() as stack:

        async def connected():
            client = Client(*await asyncio.open_unix_connection(path))
            stack.push_async_callback(client.close)
            return client

        yield connected


@pytest.fixture
async def client(api, connect):
    return await connect()


@pytest.fixture
def eventually():
    """Waits until a condition holds, where nothing can be awaited."""

    async def waited(condition):
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(0.01)

    return waited
