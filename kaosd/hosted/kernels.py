"""Kernels that are reached by Unix sockets, in the private directory of the host's own socket, where they can be."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from jupyter_server.services.kernels.kernelmanager import ServerKernelManager
from tornado.web import HTTPError
from traitlets import List, Unicode, default

from .kernelspecs import OUTSIDE, is_missing, started, takes_sockets
from .subprocesses import PIPE

_ROOM = 107 - len("/123456789abc-5")  # what the address of a Unix socket leaves for the directory


def configuration(directory: str, starter: list[str], environments: list[str]) -> dict[str, Any]:
    """Settings that put the sockets of kernels into *directory*; on ports as usual when its path is too long.

    starter, environments: as in `kernelspecs.started`.
    """
    fits = len(os.fsencode(directory)) <= _ROOM
    return {
        "Kernel": {"directory": directory if fits else "", "starter": starter, "environments": environments},
        "MultiKernelManager": {"kernel_manager_class": f"{__name__}.Kernel"},
    }


class Kernel(ServerKernelManager):
    """A kernel off the TCP ports, where every user of the machine could read along; on them if it knows no other way.

    Its sockets lie beside the host's, because the runtime directory is often too deep for the path of one.
    """

    directory = Unicode(config=True)
    starter = List(config=True)
    environments = List(config=True)

    @default("transport")
    def _transport_default(self) -> str:
        spec = self.kernel_spec
        return "ipc" if self.directory and spec is not None and takes_sockets(spec.argv, self.starter) else "tcp"

    @default("ip")
    def _ip_default(self) -> str:
        if self.transport != "ipc":
            return str(super()._ip_default())
        name, _ = os.path.splitext(os.path.basename(self.connection_file))
        return f"{self.directory}/{name[-12:]}"

    def format_kernel_cmd(self, extra_arguments: list[str] | None = None) -> list[str]:
        """The command of the kernel, started by `start.py`. HTTPError when its program is not there."""
        spec = self.kernel_spec
        command = super().format_kernel_cmd(extra_arguments)
        whole = started(command, spec.resource_dir, self.starter, self.environments)
        if whole[len(self.starter)] == OUTSIDE and is_missing(command[0], (spec.env or {}).get("PATH", "${PATH}")):
            text = f"{command[0]} is not there; install it, or correct {os.path.join(spec.resource_dir, 'kernel.json')}"
            raise HTTPError(500, f"the kernel {spec.display_name} cannot be started: {text}")
        return whole

    def cleanup_ipc_files(self) -> None:
        """Remove the kernel's sockets, and the one of `subprocesses`."""
        super().cleanup_ipc_files()
        with contextlib.suppress(OSError):
            os.remove(f"{self.ip}-{PIPE}")
