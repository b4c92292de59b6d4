"""Run by each Python kernel when it starts: what its child processes print reaches it by a Unix socket.

ipykernel listens for that at a TCP port of 127.0.0.1, the only one that a kernel of ours has. Whatever any user of the
machine sends there is kept in the kernel's memory, and told in its log. A version of ipykernel that does this in
another way is left as it is.
"""

from __future__ import annotations

from typing import Any

PIPE = "0"  # behind the address of the kernel's sockets, whose own are numbered from 1


def move(thread: Any, address: str) -> bool:
    """Have *thread* (ipykernel's IOPubThread) listen at *address* and not at its port; False when that cannot be."""
    if not all(hasattr(thread, name) for name in ("_pipe_in", "_pipe_port", "_setup_pipe_out", "schedule")):
        return False
    import zmq  # noqa: PLC0415 - there is one wherever a kernel is

    def rebind() -> None:  # in the thread to which the socket belongs
        thread._pipe_in.socket.bind(address)
        thread._pipe_in.socket.unbind(f"tcp://127.0.0.1:{thread._pipe_port}")

    def pipe_out() -> tuple[Any, Any]:  # in a child, as ipykernel's own but for the address
        context = zmq.Context()
        socket = context.socket(zmq.PUSH)
        socket.linger = 3000
        socket.connect(address)
        return context, socket

    thread._setup_pipe_out = pipe_out
    thread.schedule(rebind)
    return True


def main() -> None:
    """Move the pipe of this kernel, if it is one with Unix sockets."""
    from ipykernel.kernelapp import IPKernelApp  # noqa: PLC0415 - it is running

    app = IPKernelApp.instance()
    if app.transport == "ipc":
        move(app.iopub_thread, f"ipc://{app.ip}-{PIPE}")


if __name__ == "kaosd_subprocesses":
    main()
