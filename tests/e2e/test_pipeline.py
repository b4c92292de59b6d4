"""Save, build, host: what each kind of change costs, seen by a real kernel behind the front."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import aiohttp
import pytest

from kaosd.bundle.attach import RETIRED
from tests.e2e.conftest import Stalled, make_bundle
from tests.e2e.daemon import Daemon, until
from tests.e2e.lab import Lab

READ = "import os; print(open(os.path.join(os.environ['KAOS_DATA'], 'features', 'one.csv')).read())"


async def test_deploy_ends_with_an_address_that_answers(daemon: Daemon, bundle: Path, data: Path) -> None:
    said = daemon.deploy("first", bundle, data)
    url = said.strip().splitlines()[-1].split()[-1]
    assert url == f"{daemon.url('first')}/lab?token={daemon.token('first')}"
    async with Lab(daemon.url("first"), daemon.token("first")) as lab:
        assert (await lab.get("api/status"))["kernels"] == 0
        assert await lab.read("train.py") == "ANSWER = 1\n"
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as page:
            assert page.status == 200
            assert "JupyterLab" in await page.text()
        async with session.get(daemon.url("first") + "/api/status", headers={"Authorization": "token x"}) as refused:
            assert refused.status in (401, 403)
    shown = daemon.notebook("first")
    assert shown["state"] == "live"
    assert shown["source"]["disk"] == shown["source"]["live"]
    assert shown["source"]["live"].startswith("example:")
    assert shown["data"]["disk"] == shown["data"]["live"]
    assert shown["build"]["state"] == "JOB_SUCCESS"
    assert shown["host"]["state"] == "PIPELINE_RUNNING"
    jobs = {job["stage"]: job for job in daemon.history("first")[0]["jobs"]}
    assert jobs["build"]["state"] == "JOB_SUCCESS"
    assert len(jobs["build"]["id"]) == 32
    assert jobs["host"]["id"] != jobs["build"]["id"]
    assert "step" in daemon.ctl("logs", "first", "--stage", "build").stdout


async def test_code_is_synced_with_the_kernel_alive(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("code", bundle)
    pid = daemon.host_pid("code")
    async with Lab(daemon.url("code"), daemon.token("code")) as lab:
        kernel = await lab.kernel()
        assert await kernel.run("x = 41; print(x)") == "41\n"
        (bundle / "model" / "train.py").write_text("ANSWER = 2\n")
        shown = daemon.live("code")
        assert await lab.read("train.py") == "ANSWER = 2\n"
        assert await kernel.run("print(x + 1, open('train.py').read())") == "42 ANSWER = 2\n\n"
    assert daemon.host_pid("code") == pid
    assert shown["deployment"]["action"] == "sync"
    assert shown["deployment"]["cause"] == ["model/train.py"]
    assert [job["stage"] for job in daemon.history("code")[0]["jobs"]] == []


async def test_data_is_attached_with_the_kernel_alive(daemon: Daemon, bundle: Path, data: Path) -> None:
    daemon.deploy("data", bundle, data)
    pid = daemon.host_pid("data")
    async with Lab(daemon.url("data"), daemon.token("data")) as lab:
        kernel = await lab.kernel()
        assert await kernel.run("x = 1\n" + READ) == "a,b\n1,2\n\n"
        (data / "features" / "one.csv").write_text("a,b\n5,6\n")
        shown = daemon.live("data")
        assert await kernel.run("print(x)\n" + READ) == "1\na,b\n5,6\n\n"
        assert await kernel.run("print(os.environ['DATA_REPO'], os.environ['KAOS_NOTEBOOK'])") == "data-data data\n"
    assert daemon.host_pid("data") == pid
    assert shown["deployment"]["action"] == "attach"
    assert shown["deployment"]["cause"] == ["data: features/one.csv"]


async def test_a_kernel_that_changed_into_the_data_keeps_one_whole_version(
    own_daemon: Daemon, bundle: Path, data: Path
) -> None:
    daemon, file = own_daemon.start(), data / "features" / "one.csv"
    daemon.deploy("within", bundle, data)
    async with Lab(daemon.url("within"), daemon.token("within")) as lab:
        inside, beside = await lab.kernel(), await lab.kernel()
        await inside.run("import os; os.chdir(os.environ['KAOS_DATA'] + '/features')")
        look = "print(open('one.csv').read(), open('../features/one.csv').read(), len(os.listdir('..')))"
        before = await inside.run(look)
        for turn in range(RETIRED + 3):
            file.write_text(f"{turn}\n")
            daemon.live("within")
            assert await beside.run(READ) == f"{turn}\n\n"
            assert await inside.run(look) == before
            if turn == RETIRED:
                daemon.kill()
                daemon.start()
        await inside.run("os.chdir(os.environ['KAOS_DATA'])")
        assert await inside.run("print(open('features/one.csv').read())") == f"{turn}\n\n"


async def test_a_requirement_is_built_beside_and_taken_into_use_with_kernels_alive(
    daemon: Daemon, bundle: Path
) -> None:
    daemon.deploy("packages", bundle)
    pid, url, token = daemon.host_pid("packages"), daemon.notebook("packages")["url"], daemon.token("packages")
    async with Lab(daemon.url("packages"), token) as lab:
        old = await lab.kernel()
        await old.run("x = 1")
        (bundle / "model" / "requirements.txt").write_text("iniconfig\n")
        shown = daemon.live("packages")
        new = await lab.kernel()
        assert await new.run("import iniconfig; print('there')") == "there\n"
        with pytest.raises(AssertionError, match="ModuleNotFoundError"):
            await old.run("import iniconfig")
        assert await old.run("print(x)") == "1\n"
        await old.restart()
        assert await old.run("import iniconfig; print('there')") == "there\n"
    assert shown["deployment"]["action"] == "build"
    assert (daemon.host_pid("packages"), shown["url"], daemon.token("packages")) == (pid, url, token)


async def test_an_unchanged_digest_does_nothing(daemon: Daemon, bundle: Path, data: Path) -> None:
    daemon.deploy("same", bundle, data)
    before = [one["number"] for one in daemon.history("same")]
    for path in (bundle / "model" / "train.py", data / "features" / "one.csv", bundle / "model" / "requirements.txt"):
        path.write_bytes(path.read_bytes())
        os.utime(path)
    (bundle / "model" / ".train.py.swp").write_text("an editor's own")
    daemon.live("same")
    assert [one["number"] for one in daemon.history("same")] == before


async def test_an_environment_is_shared_between_notebooks(daemon: Daemon, tmp_path: Path) -> None:
    one, two = make_bundle(tmp_path / "one"), make_bundle(tmp_path / "two")
    daemon.deploy("share-one", one)
    daemon.deploy("share-two", two)
    jobs = [job["stage"] for job in daemon.history("share-two")[0]["jobs"]]
    assert "host" in jobs
    assert jobs.count("build") <= 1
    builds = [entry.name for entry in (daemon.state / "environments").iterdir() if len(entry.name) == 64]
    links = {os.readlink(daemon.home(name) / "environment") for name in ("share-one", "share-two")}
    assert len(links) == 1
    assert Path(links.pop()).name in builds


async def test_linked_data_is_attached_where_it_is(own_daemon: Daemon, bundle: Path, data: Path) -> None:
    own_daemon.config.write_text(
        f"[[notebook]]\nname = 'linked'\nsource = '{bundle}'\ndata = '{data}'\ndata_mode = 'link'\n"
    )
    daemon = own_daemon.start()
    before = daemon.live("linked")["data"]
    assert before["mode"] == "link"
    assert os.readlink(daemon.home("linked") / "data") == str(data)
    (data / "features" / "one.csv").write_text("a,b\n7,8,9\n")
    after = daemon.live("linked")["data"]
    assert after["live"] == after["disk"] != before["disk"]
    async with Lab(daemon.url("linked"), daemon.token("linked")) as lab:
        assert await (await lab.kernel()).run(READ) == "a,b\n7,8,9\n\n"


async def test_status_tells_of_kernels_at_once(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("kernels", bundle)
    async with Lab(daemon.url("kernels"), daemon.token("kernels")) as lab:
        kernel = await lab.kernel()
        running = asyncio.create_task(kernel.run("import time\nwhile True: time.sleep(0.05)"))
        await kernel.busy()
        assert await asyncio.to_thread(
            until, lambda: daemon.notebook("kernels")["host"]["busy"] == 1, "the busy kernel", 3.0
        )
        assert daemon.notebook("kernels")["host"]["kernels"] == 1
        running.cancel()
        await asyncio.wait([running])


async def test_the_empty_notebook(daemon: Daemon) -> None:
    daemon.deploy("empty")
    async with Lab(daemon.url("empty"), daemon.token("empty")) as lab:
        kernel = await lab.kernel()
        assert await kernel.run("print(6 * 7)") == "42\n"
    assert daemon.notebook("empty")["state"] == "live"


async def test_a_source_in_a_sub_directory_and_no_dockerfile(daemon: Daemon, tmp_path: Path) -> None:
    make_bundle(tmp_path / "outer" / "inner")
    (tmp_path / "outer" / "inner" / "Dockerfile").unlink()
    daemon.deploy("inner", tmp_path / "outer")
    async with Lab(daemon.url("inner"), daemon.token("inner")) as lab:
        assert await lab.read("train.py") == "ANSWER = 1\n"


async def test_data_alone(daemon: Daemon, data: Path) -> None:
    daemon.deploy("data-only", None, data)
    async with Lab(daemon.url("data-only"), daemon.token("data-only")) as lab:
        kernel = await lab.kernel()
        assert await kernel.run(READ) == "a,b\n1,2\n\n"


async def test_resources_change_in_place(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("limits", bundle, None, "--cpu", "1")
    pid = daemon.host_pid("limits")
    async with Lab(daemon.url("limits"), daemon.token("limits")) as lab:
        kernel = await lab.kernel()
        assert await kernel.run("import os; print(len(os.sched_getaffinity(0)))") == "1\n"
        daemon.deploy("limits", bundle, None, "--cpu", "2", "--memory", "8Gi")
        shown = daemon.live("limits")
        assert await kernel.run("print(len(os.sched_getaffinity(0)))") == "2\n"
    assert shown["resources"] == {"cpu": 2.0, "memory": "8Gi", "gpu": 0, "enforced": False}
    assert daemon.host_pid("limits") == pid


async def test_a_failed_build_leaves_the_old_one_serving_and_is_mended_by_the_next_save(
    daemon: Daemon, bundle: Path
) -> None:
    daemon.deploy("broken", bundle)
    requirements = bundle / "model" / "requirements.txt"
    requirements.write_text("iniconfig\nno-such-package-kaosd-12345\n")
    done = daemon.json("wait", "broken", "--timeout", "100")
    assert done["outcome"] == "failed"
    shown = daemon.notebook("broken")
    assert shown["state"] == "failed"
    assert shown["build"]["state"] == "JOB_FAILURE"
    assert "no-such-package-kaosd-12345" in shown["build"]["error"]
    assert "model/requirements.txt:2" in shown["build"]["error"]
    assert daemon.ctl("status", check=False).returncode == 1
    async with Lab(daemon.url("broken"), daemon.token("broken")) as lab:
        assert (await lab.get("api/status"))["started"]
        requirements.write_text("iniconfig\n")
        assert daemon.live("broken")["state"] == "live"
        assert await (await lab.kernel()).run("import iniconfig; print(1)") == "1\n"


async def test_a_first_build_that_fails_says_why(daemon: Daemon, tmp_path: Path) -> None:
    source = make_bundle(tmp_path / "bad", "numpy ===\n")
    done = daemon.ctl("notebook", "deploy", "--name", "bad", "-s", str(source), check=False)
    assert done.returncode == 1
    assert "model/requirements.txt:1" in done.stdout + done.stderr
    daemon.ctl("notebook", "kill", "-n", "bad", "-y")


async def test_work_in_the_host_is_kept_when_the_disk_changes_too(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("mine", bundle)
    async with Lab(daemon.url("mine"), daemon.token("mine")) as lab:
        await lab.write("train.py", "ANSWER = 'mine'\n")
        await lab.write("notes.txt", "only here\n")
        (bundle / "model" / "other.py").write_text("pass\n")
        daemon.live("mine")
        assert await lab.read("train.py") == "ANSWER = 'mine'\n"
        (bundle / "model" / "train.py").write_text("ANSWER = 3\n")
        daemon.live("mine")
        assert await lab.read("train.py") == "ANSWER = 3\n"
        assert await lab.read("notes.txt") == "only here\n"
    recovered = daemon.json("recovered", "mine")["recovered"]
    assert [one["path"] for one in recovered] == ["train.py"]
    assert Path(recovered[0]["file"]).read_text() == "ANSWER = 'mine'\n"
    assert (bundle / "model" / "train.py").read_text() == "ANSWER = 3\n"


async def test_rollback_serves_the_older_version_until_the_files_change(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("back", bundle)
    (bundle / "model" / "train.py").write_text("ANSWER = 2\n")
    daemon.live("back")
    daemon.ctl("rollback", "back")
    async with Lab(daemon.url("back"), daemon.token("back")) as lab:
        until(lambda: (daemon.home("back") / "work" / "train.py").read_text() == "ANSWER = 1\n", "the rollback")
        shown = until(lambda: (one := daemon.notebook("back"))["state"] == "held" and one, "the pin to be shown")
        assert "rolled back" in shown["reason"]
        (bundle / "model" / "train.py").write_text("ANSWER = 3\n")
        assert daemon.live("back")["state"] == "live"
        assert await lab.read("train.py") == "ANSWER = 3\n"


async def test_pause_and_resume(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("rest", bundle)
    daemon.ctl("pause", "rest")
    (bundle / "model" / "train.py").write_text("ANSWER = 2\n")
    done = daemon.json("wait", "rest", "--timeout", "60")
    assert (done["outcome"], done["state"]) == ("held", "held")
    assert (daemon.home("rest") / "work" / "train.py").read_text() == "ANSWER = 1\n"
    daemon.ctl("resume", "rest")
    assert daemon.live("rest")["state"] == "live"
    assert (daemon.home("rest") / "work" / "train.py").read_text() == "ANSWER = 2\n"


async def test_a_mass_change_holds_until_the_person_means_it(daemon: Daemon, bundle: Path) -> None:
    for number in range(20):
        (bundle / "model" / f"part{number}.py").write_text(f"N = {number}\n")
    daemon.deploy("many", bundle)
    with daemon.one_save("many"):
        for number in range(15):
            (bundle / "model" / f"part{number}.py").unlink()
    done = daemon.json("wait", "many", "--timeout", "60")
    assert done["outcome"] == "held"
    assert (daemon.home("many") / "work" / "part3.py").exists()
    assert done["reason"] == (
        "15 of 23 files of the source directory are gone; bring back what is missing, or "
        "`kaosctl redeploy many --force` when you mean it"
    )
    assert daemon.notebook("many")["state"] == "held"
    daemon.ctl("redeploy", "many", "--force")
    daemon.live("many")
    assert not (daemon.home("many") / "work" / "part3.py").exists()


async def test_a_vanished_directory_holds_and_comes_back(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("gone", bundle)
    away = bundle.with_name("away")
    bundle.rename(away)
    shown = until(lambda: (one := daemon.notebook("gone"))["state"] == "held" and one, "the hold")
    assert str(bundle) in shown["reason"]
    assert (daemon.home("gone") / "work" / "train.py").exists()
    (away / "model" / "train.py").write_text("ANSWER = 9\n")
    away.rename(bundle)
    assert until(lambda: daemon.notebook("gone")["state"] == "live", "the directory to be taken up again")
    assert (daemon.home("gone") / "work" / "train.py").read_text() == "ANSWER = 9\n"


async def test_a_newer_requirement_cancels_a_running_build(daemon: Daemon, bundle: Path, stalled: Stalled) -> None:
    daemon.deploy("newer", bundle)
    requirements = bundle / "model" / "requirements.txt"
    requirements.write_text(stalled.line)
    first = until(lambda: (one := daemon.notebook("newer"))["state"] == "building" and one["build"], "the build")
    requirements.write_text("iniconfig\n")
    daemon.live("newer")
    jobs = [job for one in daemon.history("newer") for job in one["jobs"] if job["id"] == first["job"]]
    assert [job["state"] for job in jobs] == ["JOB_KILLED"]


async def test_killing_a_notebook_leaves_no_process_and_keeps_the_work(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("kill", bundle)
    async with Lab(daemon.url("kill"), daemon.token("kill")) as lab:
        await (await lab.kernel()).run("x = 1")
        await lab.write("notes.txt", "only here\n")
    home = os.fsencode(daemon.home("kill")) + b"/"
    daemon.ctl("notebook", "kill", "-n", "kill", "-y")
    assert not [line for line in daemon.command_lines().values() if home in line]
    assert "kill" not in [one["name"] for one in daemon.status()["notebooks"]]
    kept = list((daemon.home("kill") / "recovered").glob("**/notes.txt"))
    assert [path.read_text() for path in kept] == ["only here\n"]
    assert daemon.ctl("status", "kill", check=False).returncode == 4
