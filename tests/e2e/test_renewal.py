"""What only a new container can have: it is planned, waits for busy kernels within bounds, and is no failure."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import daemon_of, make_bundle
from tests.e2e.daemon import Daemon, until
from tests.e2e.lab import Kernel, Lab
from tests.engines.containers import Containers

pytestmark = pytest.mark.timeout(900)  # images are built in some of them, the base image may be made in the first
READ = "import os; print(open(f\"/pfs/{os.environ['DATA_REPO']}/one.csv\").read())"
WAIT = "import os, time\nwhile not os.path.exists('gate'): time.sleep(0.05)\n"
HELD = "1 kernel is busy and the swap would end them; `kaosctl redeploy --now` does not wait"


def containers_of(containers: Containers, daemon: Daemon, name: str) -> list[str]:
    return containers.ids(label=f"kaosd.home={daemon.home(name)}", status="running")


def configure(daemon: Daemon, **values: object) -> None:
    """One notebook called "own" in the configuration."""
    lines = [
        f'{key} = "{value}"' if isinstance(value, (str, Path)) else f"{key} = {value}" for key, value in values.items()
    ]
    daemon.config.write_text("\n".join(["[[notebook]]", 'workspace = "w"', 'name = "own"', *lines, ""]))
    daemon.ctl("reload")


async def occupied(kernel: Kernel) -> asyncio.Task[str]:
    """A cell of *kernel* that runs until the file `gate` is in its directory."""
    task = asyncio.ensure_future(kernel.run(WAIT))
    await kernel.busy()
    return task


def held(daemon: Daemon) -> dict[str, Any] | None:
    one = daemon.notebook("own")
    return one if one["state"] == "held" else None


async def test_linked_data_is_seen_as_it_is_and_other_data_waits_for_busy_kernels(
    docker_containers: Containers, tmp_path: Path
) -> None:
    bundle, first, second = make_bundle(tmp_path / "example"), tmp_path / "first", tmp_path / "second"
    for directory, text in ((first, "1"), (second, "2")):
        directory.mkdir()
        (directory / "one.csv").write_text(text)
    named = tmp_path / "data"
    named.symlink_to(first)
    with daemon_of(docker_containers) as daemon:
        wishes: dict[str, object] = {"source": bundle, "data_mode": "link"}
        configure(daemon, data=named, **wishes)
        daemon.live("own")
        before = containers_of(docker_containers, daemon, "own")
        async with Lab(daemon.url("own"), daemon.token("own")) as lab:
            kernel = await lab.kernel()
            assert await kernel.run(f"kept = 1\n{READ}") == "1\n"
            (first / "one.csv").write_text("new")
            assert daemon.live("own")["deployment"]["action"] == "attach"
            assert await kernel.run(f"print(kept)\n{READ}") == "1\nnew\n"
            assert containers_of(docker_containers, daemon, "own") == before
            # another directory: no container sees it that has not been made with it
            task = await occupied(await lab.kernel())
            configure(daemon, data=second, **wishes)
            shown = await asyncio.to_thread(until, lambda: held(daemon), "the wait for the kernel")
            assert shown["reason"] == HELD
            assert await kernel.run(f"print(kept)\n{READ}") == "1\nnew\n"  # and the old one is whole meanwhile
            (bundle / "model" / "train.py").write_text("ANSWER = 2\n")
            await asyncio.to_thread(until, lambda: synced(daemon, "ANSWER = 2\n"), "code to be synced meanwhile")
            (daemon.home("own") / "work" / "gate").touch()
            await task
        daemon.live("own")
        await asyncio.to_thread(
            until, lambda: len(containers_of(docker_containers, daemon, "own")) == 1, "the end of the old one"
        )
        assert containers_of(docker_containers, daemon, "own") != before
        async with Lab(daemon.url("own"), daemon.token("own")) as lab:
            assert await (await lab.kernel()).run(READ) == "2\n"
        assert [one["outcome"] for one in daemon.history("own") if one["outcome"] == "failed"] == []


def synced(daemon: Daemon, text: str) -> bool:
    return (daemon.home("own") / "work" / "train.py").read_text() == text


async def test_podman_gives_other_limits_by_a_new_container_after_the_time_that_was_set(
    podman_containers: Containers, tmp_path: Path
) -> None:
    wishes: dict[str, object] = {"source": make_bundle(tmp_path / "example")}
    with daemon_of(podman_containers) as daemon:
        configure(daemon, memory="512Mi", **wishes)
        daemon.live("own")
        (before,) = containers_of(podman_containers, daemon, "own")
        async with Lab(daemon.url("own"), daemon.token("own")) as lab:
            task = await occupied(await lab.kernel())
            configure(daemon, memory="640Mi", **wishes)
            shown = await asyncio.to_thread(until, lambda: held(daemon), "the wait for the kernel")
            assert shown["reason"] == HELD
            assert containers_of(podman_containers, daemon, "own") == [before]
            configure(daemon, memory="640Mi", swap_when_idle=1, **wishes)
            await asyncio.to_thread(daemon.live, "own")
            await asyncio.wait([task])
            assert task.exception() is not None
        (after,) = containers_of(podman_containers, daemon, "own")
        assert after != before
        client = podman_containers.client()
        assert client.inspect_container(after)["HostConfig"]["Memory"] == 640 * 2**20
        client.close()
        assert daemon.notebook("own")["resources"]["enforced"] is True
        assert [one["outcome"] for one in daemon.history("own") if one["outcome"] == "failed"] == []
