"""The environment as a person meets it: what is installed by hand, and what happens when it is damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, until
from tests.e2e.lab import Lab


def environment(daemon: Daemon) -> Path:
    """The only complete environment."""
    (marker,) = (daemon.state / "environments").glob("*/kaosd-environment.json")
    return marker.parent


def remove(path: Path) -> None:
    """Away at once, though bytecode may be written there meanwhile."""
    gone = path.with_name(f"{path.name}.gone")
    path.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def add_module(path: Path) -> None:
    (next(path.glob("lib/python3*/site-packages")) / "sitecustomize.py").write_text("raise SystemExit\n")


async def kernel_answers(daemon: Daemon, name: str) -> None:
    async with Lab(daemon.url(name), daemon.token(name)) as lab:
        assert await (await lab.kernel()).run("print(6 * 7)") == "42\n"


async def test_what_is_installed_by_hand_is_shown_until_it_is_part_of_the_environment(
    daemon: Daemon, bundle: Path
) -> None:
    daemon.deploy("hand", bundle)
    assert daemon.notebook("hand")["environment"] == {
        "file": "model/requirements.txt",
        "by_hand": [],
        "change": None,
    }
    async with Lab(daemon.url("hand"), daemon.token("hand")) as lab:
        old = await lab.kernel()
        await old.run("%pip install -q iniconfig==2.0.0")
        assert await old.run("import iniconfig; print('there')") == "there\n"
        by_hand = [{"name": "iniconfig", "version": "2.0.0", "requested": True}]
        until(lambda: daemon.notebook("hand")["environment"]["by_hand"] == by_hand, "status to tell of it")
        assert "1 by hand" in daemon.ctl("status").stdout
        assert "by hand     iniconfig 2.0.0, not in model/requirements.txt" in daemon.ctl("status", "hand").stdout
        (shown,) = daemon.json("env", "hand")["by_hand"]
        assert shown["keep"] == "kaosctl add hand iniconfig==2.0.0"

        (bundle / "model" / "requirements.txt").write_text("iniconfig==2.1.0\n")
        daemon.live("hand")
        until(lambda: daemon.notebook("hand")["environment"]["by_hand"] == [], "nothing to be by hand any more")
        until(lambda: daemon.notebook("hand")["host"]["outdated_kernels"] == [old.id], "the old kernel to be known")
        change = until(lambda: daemon.notebook("hand")["environment"]["change"], "what the old kernel has not got")
        assert change["added"] == ["iniconfig"]
        assert daemon.notebook("hand")["summary"] == "live, 1 kernel on an older environment"
        shown_version = "import importlib.metadata as m; print(m.version('iniconfig'))"
        assert await (await lab.kernel()).run(shown_version) == "2.1.0\n"
        assert await old.run(shown_version) == "2.0.0\n"
        await old.restart()
        until(lambda: daemon.notebook("hand")["host"]["outdated"] == 0, "the kernel to be on the new environment")
        used = until(lambda: daemon.notebook("hand")["usage"], "what is used to be measured")
        assert used["memory"] > sum(one["memory"] for one in used["kernels"]) > 2 * 2**20
    assert "iniconfig==2.1.0" in daemon.ctl("env", "hand", "--lock").stdout.splitlines()
    assert daemon.ctl("env", "nobody", check=False).returncode == 4


@pytest.mark.parametrize("damage", [remove, add_module])
async def test_a_damaged_environment_is_never_live_and_is_built_again(
    own_daemon: Daemon, bundle: Path, damage: object
) -> None:
    daemon = own_daemon.start()
    daemon.deploy("n", bundle)
    there = environment(daemon)
    damage(there)  # type: ignore[operator]
    until(lambda: daemon.notebook("n")["state"] != "live", "status to notice")
    assert daemon.live("n")["state"] == "live"
    await kernel_answers(daemon, "n")
    assert "environment" in daemon.history("n")[0]["cause"][0]

    daemon.kill()
    damage(environment(daemon))  # type: ignore[operator]
    daemon.start()
    assert daemon.live("n")["state"] == "live"
    await kernel_answers(daemon, "n")


async def test_a_rollback_to_an_environment_that_was_damaged_builds_it_again(own_daemon: Daemon, bundle: Path) -> None:
    daemon = own_daemon.start()
    daemon.deploy("n", bundle)
    before = environment(daemon)
    (bundle / "model" / "requirements.txt").write_text("iniconfig\n")
    daemon.live("n")
    add_module(before)
    daemon.ctl("rollback", "n")
    until(lambda: daemon.notebook("n")["source"]["live"] != daemon.notebook("n")["source"]["disk"], "the rollback")
    await kernel_answers(daemon, "n")
    assert not list(before.glob("lib/python3*/site-packages/sitecustomize.py"))


async def test_a_dockerfile_builds_nothing_here(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("still", bundle)
    builds = daemon.notebook("still")["build"]
    for name in ("Dockerfile", ".dockerignore"):
        (bundle / name).write_text("# changed\n")
        assert daemon.live("still")["build"] == builds
        assert daemon.json("why", str(bundle / name))["costs"] != "build"
    assert daemon.json("why", str(bundle / "model" / "requirements.txt"))["costs"] == "build"
