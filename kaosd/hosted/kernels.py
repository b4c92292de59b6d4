"""Kernels that are reached by Unix sockets in the private directory of the host's own socket."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from jupyter_server.services.kernels.kernelmanager import ServerKernelManager
from traitlets import Unicode, default

from .subprocesses import PIPE

_ROOM = 107 - len("/123456789abc-5")  # what the address of a Unix socket leaves for the directory


def configuration(directory: str) -> dict[str, Any]:
    """Settings that put the sockets of kernels into *directory*; on ports as usual when its path is too long."""
    if len(os.fsencode(directory)) > _ROOM:
        return {}
    return {
        "KernelManager": {"transport": "ipc"},
        "Kernel": {"directory": directory},
        "MultiKernelManager": {"kernel_manager_class": f"{__name__}.Kernel"},
    }


class Kernel(ServerKernelManager):
    """A kernel off the TCP ports, where every user of the machine could read along.

    Its sockets lie beside the host's, because the runtime directory is often too deep for the path of one.
    """

    directory = Unicode(config=True)

    @default("ip")
    def _ip_default(self) -> str:
        name, _ = os.path.splitext(os.path.basename(self.connection_file))
        return f"{self.directory}/{name[-12:]}"

    def cleanup_ipc_files(self) -> None:
        """Remove the kernel's sockets, and the one of `subprocesses`."""
        super().cleanup_ipc_files()
        with contextlib.suppress(OSError):
            os.remove(f"{self.ip}-{PIPE}")
