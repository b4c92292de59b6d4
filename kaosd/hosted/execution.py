"""Server extension: runs a notebook of this directory from its first cell to its last, with a kernel of its own.

POST <base_url>kaosd/run  {"path", "parameters": {name: value}, "timeout": seconds or null, "keep": bool}

The answer is a line of JSON for each of these, as they come:
{"event": "started", "cells": n}                               code cells that are to run
{"event": "cell", "number": k, "seconds": s, "text": line, "output": text}
                                                               one has run; text: the first line of its source
{"event": "notebook", "part": text}                            with "keep", the executed notebook, in parts
{"event": "end", "outcome": "passed", "failed" or "timeout", "seconds", "cell": k or null, "error": {…} or null}

When the caller leaves, the kernel is interrupted and ended. The kernel is one of the server's, so that it has the
notebook's environment, data and limits, and counts as busy; cells are carried out by nbclient. The file stays as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import ensure_async, url_path_join
from tornado import web
from tornado.iostream import StreamClosedError

from . import parameters

_PART = 2**16  # characters of an executed notebook in one line
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TEXT = 100  # characters of a cell's first line
_OUTPUT = 10_000  # characters of a cell's output that are told, from its end
_READY = 60  # seconds in which the kernel must answer
_KEPT = 2**26  # characters of outputs that are kept in a run: they are held in the memory of all kernels' server
_LONG = 2**15  # characters of an error's message, and of its traceback, that are told
Tell = Callable[[dict[str, Any]], Awaitable[None]]


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    routes = [(url_path_join(server.base_url, "kaosd", "run"), RunRequests, {"server": server})]
    server.web_app.add_handlers(".*$", routes)


class RunRequests(APIHandler):
    """See the module."""

    auth_resource = "kernels"

    def initialize(self, server: Any) -> None:
        """server: the JupyterLab that this is part of."""
        self._server = server
        self._task: Any = None

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Run, and tell of each cell."""
        asked = self.get_json_body() or {}
        execution = Execution(self._server, asked, self._tell)
        try:
            execution.prepare()
        except NotRunnable as refusal:
            self.set_status(refusal.status)
            self.finish(json.dumps({"error": str(refusal)}))
            return
        self.set_header("Content-Type", "application/x-ndjson")
        self._task = asyncio.ensure_future(execution.run())
        try:
            await self._task
        except (asyncio.CancelledError, StreamClosedError):
            self.log.info("The run of %s was ended by its caller", asked.get("path"))
            return
        self.finish()

    def on_connection_close(self) -> None:
        """The caller has left."""
        if self._task is not None:
            self._task.cancel()

    async def _tell(self, event: dict[str, Any]) -> None:
        self.write(json.dumps(event) + "\n")
        await self.flush()


class NotRunnable(Exception):
    """Why a notebook cannot be run, as the rest of a sentence that starts with its name. status: of the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Execution:
    """One run. asked: the body of the request. tell: takes each event."""

    def __init__(self, server: Any, asked: dict[str, Any], tell: Tell) -> None:
        self._server, self._tell = server, tell
        self._path = str(asked.get("path") or "")
        self._parameters = asked.get("parameters") or {}
        self._timeout = asked.get("timeout")
        self._keep = bool(asked.get("keep"))
        self._notebook: Any = None
        self._number = 0

    def prepare(self) -> None:
        """Read the notebook. Raises NotRunnable."""
        try:
            import nbclient  # noqa: F401, PLC0415 - JupyterLab brings it, through nbconvert
            import nbformat  # noqa: PLC0415
        except ImportError as error:
            raise NotRunnable(501, f"cannot be run: {error.name} is missing in its environment") from error
        root = os.path.realpath(self._server.root_dir)
        path = os.path.realpath(os.path.join(root, self._path.lstrip("/")))
        if os.path.commonpath((root, path)) != root or not os.path.isfile(path):
            raise NotRunnable(404, "is not a file of the notebook")
        try:
            self._notebook = nbformat.read(path, as_version=4)
            if self._parameters:
                parameters.inject(self._notebook, self._parameters)
        except Exception as error:  # nbformat raises whatever its parsers do
            raise NotRunnable(422, f"cannot be run: {_line(str(error))}") from error

    async def run(self) -> None:
        """Run all cells, tell of them, and how it ended."""
        begun, outcome, error = time.monotonic(), "passed", None
        await self._tell({"event": "started", "cells": sum(map(_runs, self._notebook.cells))})
        cells = asyncio.ensure_future(self._cells())
        try:
            done, _ = await asyncio.wait({cells}, timeout=self._timeout)
        finally:
            cells.cancel()  # nbclient takes that for the death of the kernel, so what it raises says nothing
            await asyncio.gather(cells, return_exceptions=True)
        try:
            if done:
                cells.result()
            else:
                outcome = "timeout"
        except _Failed as failed:
            outcome, error = "failed", failed.error
        if self._keep:
            await self._send()
        failing = self._number or None if outcome != "passed" else None
        took = round(time.monotonic() - begun, 3)
        await self._tell({"event": "end", "outcome": outcome, "seconds": took, "cell": failing, "error": error})

    async def _cells(self) -> None:
        """Start a kernel, run the cells one after another, and end it, whatever comes."""
        kernels = self._server.kernel_manager
        name, directory = self._kernel(), os.path.dirname(self._path.strip("/"))
        try:
            kernel = await ensure_async(kernels.start_kernel(kernel_name=name, path=directory))
        except Exception as error:
            raise _Failed("KernelError", f"the kernel {name} cannot be started: {error}") from error
        manager = kernels.get_kernel(kernel)
        manager.stop_restarter()  # a kernel that has died has lost what the next cell needs
        client = manager.client()
        try:
            await ensure_async(client.start_channels())
            await self._with(manager, client)
        finally:
            client.stop_channels()
            if kernel in kernels:
                await asyncio.shield(_end(kernels, kernel))

    async def _with(self, manager: Any, client: Any) -> None:
        from nbclient.exceptions import CellExecutionError, DeadKernelError  # noqa: PLC0415

        # not its own execute(), which takes the signals of this process
        runner = _client_class()(self._notebook, km=manager, timeout=None)
        runner.kc = client
        client.allow_stdin = False
        runner.reset_execution_trackers()
        try:
            await ensure_async(client.wait_for_ready(timeout=_READY))
        except RuntimeError as error:
            raise _Failed("KernelError", f"the kernel does not answer: {error}") from error
        for index, cell in enumerate(self._notebook.cells):
            runs = _runs(cell)
            self._number += 1 if runs else 0
            begun = time.monotonic()
            try:
                await runner.async_execute_cell(cell, index, execution_count=self._number if runs else None)
            except CellExecutionError as error:
                raise _Failed(*_error_of(cell, error)) from error
            except DeadKernelError as error:
                raise _Failed("DeadKernelError", "the kernel died, as it does when memory runs out") from error
            if runs:
                took = round(time.monotonic() - begun, 3)
                text = _line(cell.source.strip())[:_TEXT]
                cell_event = {"event": "cell", "number": self._number, "seconds": took, "text": text}
                await self._tell({**cell_event, "output": _output_of(cell)})

    def _kernel(self) -> str:
        """The kernel that the notebook asks for; ours where it asks for one of Python that is not here."""
        spec = self._notebook.metadata.get("kernelspec", {})
        name, language = str(spec.get("name") or "python3"), str(spec.get("language") or "python")
        known = self._server.kernel_spec_manager.find_kernel_specs()
        if name not in known and language.lower() == "python":
            return "python3"
        return name

    async def _send(self) -> None:
        import nbformat  # noqa: PLC0415

        text = nbformat.writes(self._notebook)
        for at in range(0, len(text), _PART):
            await self._tell({"event": "notebook", "part": text[at : at + _PART]})


def _client_class() -> Any:
    """The client of nbclient, which keeps outputs only as far as there is room for them."""
    from nbclient import NotebookClient  # noqa: PLC0415
    from nbformat.v4 import new_output  # noqa: PLC0415

    class BoundedClient(NotebookClient):  # type: ignore[misc]
        taken = 0  # characters, those of outputs that were cleared among them
        full = False

        def output(self, outs: list[Any], msg: dict[str, Any], *more: Any) -> Any:
            if msg["msg_type"] == "error":
                return super().output(outs, msg, *more)
            self.taken += _size(msg["content"])
            if self.taken > _KEPT and not self.full:
                there = (output for cell in self.nb.cells for output in cell.get("outputs", ()))
                self.taken = _size(msg["content"]) + sum(map(_size, there))
                self.full = self.taken > _KEPT
                if self.full:
                    outs.append(new_output("stream", name="stderr", text="[kaosd: further output is left out]\n"))
            return None if self.full else super().output(outs, msg, *more)

    return BoundedClient


def _size(output: Any) -> int:
    """The characters of an output, or of the message that brings it."""
    parts = (output.get("text"), *(output.get("data") or {}).values())
    return sum(len(part) for part in parts if isinstance(part, str))


def _runs(cell: Any) -> bool:
    """Whether a cell is one that is executed."""
    skipped = "skip-execution" in cell.metadata.get("tags", [])
    return cell.cell_type == "code" and bool(cell.source.strip()) and not skipped


class _Failed(Exception):
    """A cell failed. error: {"name", "value", "traceback", "output"}, plain text; output: as of a cell that passed."""

    def __init__(self, name: str, value: str, traceback: str = "", output: str = "") -> None:
        super().__init__(value)
        self.error = {"name": name, "value": value, "traceback": traceback, "output": output}


def _output_of(cell: Any) -> str:
    """What a cell has printed and returned, as plain text; of much of it the end."""
    parts = []
    for output in cell.get("outputs", []):
        text = output.get("text") if output.get("output_type") == "stream" else output.get("data", {}).get("text/plain")
        if text:
            parts.append(text if text.endswith("\n") else f"{text}\n")
    text = _ANSI.sub("", "".join(parts)[-100 * _OUTPUT :])
    whole = "\n".join(map(_last_drawn, text.split("\n")))
    return whole if len(whole) <= _OUTPUT else f"…{whole[-_OUTPUT:]}"


def _last_drawn(line: str) -> str:
    """A line as it stands in the end, of a progress bar that is drawn over and over."""
    shown = line.rstrip("\r")
    return shown.rpartition("\r")[2] + line[len(shown) :]


def _error_of(cell: Any, error: Exception) -> tuple[str, str, str, str]:
    """Name, value and traceback of the error that a cell's outputs hold, without colours, and its other outputs."""
    for output in reversed(cell.get("outputs", [])):
        if output.get("output_type") == "error":
            lines = "\n".join(output.get("traceback", []))
            name, value = str(output.get("ename"))[:_TEXT], str(output.get("evalue"))[:_LONG]
            return name, value, _ANSI.sub("", lines)[-_LONG:], _output_of(cell)
    return type(error).__name__, _line(str(error))[:_LONG], "", _output_of(cell)


async def _end(kernels: Any, kernel: str) -> None:
    """Interrupt a kernel, since its caller may have left in the middle of a cell, and end it."""
    with contextlib.suppress(OSError, RuntimeError):  # it has ended by itself
        await ensure_async(kernels.interrupt_kernel(kernel))
    await ensure_async(kernels.shutdown_kernel(kernel, now=True))


def _line(text: str) -> str:
    """The first line of a text."""
    return (text.splitlines() or [""])[0]
