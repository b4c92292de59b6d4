"""A real daemon with its notebooks on the stand-in for pachd, from a save to what the browser gets."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import Daemon, until
from tests.e2e.test_open_document import notebook
from tests.pachd.program import Pachd, running

NAME = "mnist"


@pytest.fixture(scope="module")
def pachd() -> Iterator[Pachd]:
    with running("--token", "s3cret", "--keep") as found:
        yield found


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ks") as found:
        yield Path(found)


@pytest.fixture(scope="module")
def daemon(pachd: Pachd, place: Path) -> Iterator[Daemon]:
    """A daemon with one notebook on Pachyderm that is live."""
    (place / "token").write_text("s3cret\n")
    make_bundle(place / "source", dockerfile="FROM python:3.11\nADD . /opt/program/\n")
    (place / "source" / "model" / "lib").mkdir()
    (place / "source" / "model" / "lib" / "one.py").write_text("ONE = 1\n")
    (place / "data" / "features").mkdir(parents=True)
    (place / "data" / "features" / "one.csv").write_text("a,b\n1,2\n")
    found = Daemon(
        Path(tempfile.mkdtemp(prefix="kd")),
        KAOSD_PACHYDERM_ADDRESS=f"grpc://{pachd.address}",
        KAOSD_PACHYDERM_TOKEN_FILE=str(place / "token"),
        KAOSD_PACHYDERM_REGISTRY="registry.test/kaosd",
        KAOSD_PACHYDERM_BUILDKIT="tcp://buildkitd:1234",
        KAOSD_MAX_BACKOFF="1",
    ).start()
    found.deploy(NAME, place / "source", place / "data", "--engine", "pachyderm", "--memory", "2Gi")
    yield found
    pachd.turn()
    found.close()


def ask(daemon: Daemon, method: str, path: str, body: object = None) -> Any:
    """What the notebook answers through the front; None when it answers with nothing."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"{daemon.url(NAME)}/api/{path}", data, method=method)
    request.add_header("Authorization", f"token {daemon.token(NAME)}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def contents(daemon: Daemon, path: str) -> str:
    """A file of the notebook, through the front."""
    return str(ask(daemon, "GET", f"contents/{path}")["content"])


def write(daemon: Daemon, path: str, text: str) -> None:
    """A person saves a file in the notebook."""
    ask(daemon, "PUT", f"contents/{path}", {"type": "file", "format": "text", "content": text})


def served(daemon: Daemon, path: str) -> str | None:
    """The same; None while nothing is served, or not that."""
    try:
        return contents(daemon, path)
    except (OSError, ValueError):
        return None


def there(daemon: Daemon, path: str) -> bool:
    try:
        contents(daemon, path)
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise
        return False
    return True


@contextmanager
def busy(daemon: Daemon, kernel: str) -> Iterator[None]:
    """A cell runs in that kernel."""
    header = {"msg_id": "1", "msg_type": "execute_request", "username": "", "session": "s", "version": "5.3"}
    content = {"code": "import time; time.sleep(600)", "silent": False, "store_history": False, "allow_stdin": False}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}

    async def run() -> None:
        url = f"{daemon.url(NAME)}/api/kernels/{kernel}/channels"
        headers = {"Authorization": f"token {daemon.token(NAME)}"}
        async with aiohttp.ClientSession(headers=headers) as session, session.ws_connect(url) as socket:
            await socket.send_json(message)
            async for received in socket:
                if json.loads(received.data).get("content", {}).get("execution_state") == "busy":
                    return

    asyncio.run(run())
    yield


def restarts(pachd: Pachd) -> int:
    return int(pachd.told()["restarts"][f"default/{NAME}"])


def test_a_notebook_is_served_through_the_front(daemon: Daemon, pachd: Pachd) -> None:
    notebook = daemon.live(NAME)
    assert (notebook["state"], notebook["engine"]) == ("live", "pachyderm")
    assert notebook["resources"]["enforced"]
    assert notebook["host"]["state"] == "PIPELINE_RUNNING"
    assert contents(daemon, "train.py") == "ANSWER = 1\n"
    assert restarts(pachd) == 1
    told = pachd.told()["commits"]
    assert (told[f"default/source-{NAME}"], told[f"default/data-{NAME}"]) == (2, 1)  # the environment and the code
    assert contents(daemon, "lib/one.py") == "ONE = 1\n"
    assert not [name for name in told if name.startswith("default/try-")]


def test_a_save_of_code_is_one_commit_and_neither_a_build_nor_a_restart(
    daemon: Daemon, pachd: Pachd, place: Path
) -> None:
    kernel = ask(daemon, "POST", "kernels", {"name": "python3"})["id"]
    before = pachd.told()
    with daemon.one_save(NAME):
        (place / "source" / "model" / "train.py").write_text("ANSWER = 2\n")
        (place / "source" / "model" / "lib" / "one.py").rename(place / "source" / "model" / "lib" / "two.py")
    notebook = daemon.live(NAME)
    after = pachd.told()
    assert notebook["deployment"]["action"] == "sync"
    assert contents(daemon, "train.py") == "ANSWER = 2\n"
    assert (there(daemon, "lib/one.py"), there(daemon, "lib/two.py")) == (False, True)
    assert after["commits"][f"default/source-{NAME}"] == before["commits"][f"default/source-{NAME}"] + 1
    assert (after["jobs"], after["restarts"]) == (before["jobs"], before["restarts"])
    assert [one["id"] for one in ask(daemon, "GET", "kernels")] == [kernel]
    asked = sum(after["calls"].values()) - sum(before["calls"].values())
    assert asked <= 10
    ask(daemon, "DELETE", f"kernels/{kernel}")


def test_an_edit_in_the_notebook_stays_or_is_kept(daemon: Daemon, place: Path) -> None:
    """The three-way rule, as on the other engines."""
    write(daemon, "mine.py", "MINE = 1\n")
    write(daemon, "train.py", "ANSWER = 'edited'\n")
    (place / "source" / "model" / "lib" / "two.py").write_text("TWO = 2\n")
    daemon.live(NAME)
    assert contents(daemon, "train.py") == "ANSWER = 'edited'\n"
    (place / "source" / "model" / "train.py").write_text("ANSWER = 3\n")
    daemon.live(NAME)
    assert (contents(daemon, "train.py"), contents(daemon, "mine.py")) == ("ANSWER = 3\n", "MINE = 1\n")
    (copy,) = daemon.json("recovered", NAME)["recovered"]
    assert copy["path"] == "train.py"
    assert Path(copy["file"]).read_text() == "ANSWER = 'edited'\n"
    (place / "source" / "model" / "train.py").write_text("ANSWER = 2\n")
    daemon.live(NAME)


def test_edits_survive_the_restart_that_new_data_brings(daemon: Daemon, pachd: Pachd, place: Path) -> None:
    write(daemon, "mine.py", "MINE = 2\n")
    write(daemon, "lib/two.py", "TWO = 'edited'\n")
    ask(daemon, "DELETE", "contents/requirements.txt")
    before = restarts(pachd)
    (place / "data" / "features" / "three.csv").write_text("a,b\n5,6\n")
    daemon.live(NAME)
    assert restarts(pachd) == before + 1
    assert (contents(daemon, "mine.py"), contents(daemon, "lib/two.py")) == ("MINE = 2\n", "TWO = 'edited'\n")
    assert not there(daemon, "requirements.txt")
    assert contents(daemon, "train.py") == "ANSWER = 2\n"
    write(daemon, "lib/two.py", "TWO = 2\n")
    write(daemon, "requirements.txt", (place / "source" / "model" / "requirements.txt").read_text())


def test_a_pod_that_dies_comes_back_with_the_code_that_is_deployed(daemon: Daemon, pachd: Pachd, place: Path) -> None:
    """Not with that of the commit that it began with, and it is not called live before."""
    daemon.live(NAME)
    before = restarts(pachd)
    pachd.end_pods()
    until(lambda: restarts(pachd) == before + 1, "the next pod")
    until(lambda: served(daemon, "train.py") == "ANSWER = 2\n", "the code to be there")
    until(lambda: daemon.notebook(NAME)["state"] == "live", "the notebook to be live")
    assert contents(daemon, "lib/two.py") == "TWO = 2\n"
    assert not there(daemon, "lib/one.py")


def test_a_change_of_data_is_one_commit_and_one_restart(daemon: Daemon, pachd: Pachd, place: Path) -> None:
    before = pachd.told()
    (place / "data" / "features" / "two.csv").write_text("a,b\n3,4\n")
    notebook = daemon.live(NAME)
    after = pachd.told()
    assert notebook["deployment"]["action"] == "attach"
    assert after["commits"][f"default/data-{NAME}"] == before["commits"][f"default/data-{NAME}"] + 1
    assert after["calls"]["CreatePipeline"] == before["calls"]["CreatePipeline"]
    assert restarts(pachd) == before["restarts"][f"default/{NAME}"] + 1


def test_a_host_that_takes_no_code_is_replaced_and_that_is_said(daemon: Daemon, pachd: Pachd, place: Path) -> None:
    write(daemon, "mine.py", "MINE = 3\n")
    before = restarts(pachd)
    (pod,) = (pachd.place / "pods").glob(f"default-{NAME}-*/tmp/kaosd-host")
    (pod / "trees.json.new").mkdir()  # the host cannot write down what it holds
    (place / "source" / "model" / "train.py").write_text("ANSWER = 'by a new host'\n")
    daemon.live(NAME)
    assert restarts(pachd) == before + 1
    assert contents(daemon, "train.py") == "ANSWER = 'by a new host'\n"
    assert contents(daemon, "mine.py") == "MINE = 3\n"
    assert "a new host will bring it" in daemon.ctl("logs", NAME, "--stage", "watch").stdout
    (place / "source" / "model" / "train.py").write_text("ANSWER = 2\n")
    daemon.live(NAME)


def test_new_data_waits_for_a_busy_kernel_and_is_announced(daemon: Daemon, pachd: Pachd, place: Path) -> None:
    kernel = ask(daemon, "POST", "kernels", {"name": "python3"})["id"]
    before = restarts(pachd)
    with busy(daemon, kernel):
        until(lambda: daemon.notebook(NAME)["host"]["busy"] == 1, "the kernel to be seen busy")
        (place / "data" / "features" / "two.csv").write_text("a,b\n3,5\n")
        until(lambda: "new data restarts the host" in (daemon.notebook(NAME)["reason"] or ""), "the wait to be told")
        train = place / "source" / "model" / "train.py"
        train.write_text("ANSWER = 'while data waits'\n")
        until(lambda: contents(daemon, "train.py") == "ANSWER = 'while data waits'\n", "code to come all the same")
        train.write_text("ANSWER = 2\n")
        assert restarts(pachd) == before
        daemon.ctl("redeploy", NAME, "--now")
    daemon.live(NAME)
    assert restarts(pachd) == before + 1
    assert contents(daemon, "train.py") == "ANSWER = 2\n"


def test_how_far_data_has_got_is_shown_while_it_is_sent(daemon: Daemon, pachd: Pachd, place: Path) -> None:
    pachd.turn(slow={"ModifyFile": 600.0})
    large = place / "data" / "large.bin"
    large.write_bytes(bytes(3 << 20))
    until(
        lambda: ((daemon.notebook(NAME)["progress"] or {}).get("text") or "").startswith("data: sent "),
        "the progress to be shown",
    )
    waited = daemon.ctl("wait", NAME, "--timeout", "0.2", check=False)
    assert waited.returncode == 5
    assert "data: sent" in waited.stdout
    assert "of 3.1 MB" in daemon.ctl("status", NAME, check=False).stdout
    assert "of 3.1 MB" in daemon.ctl("logs", NAME, "--stage", "watch").stdout
    pachd.turn()
    large.unlink()
    daemon.live(NAME)


def test_a_build_that_fails_leaves_the_host_alone(daemon: Daemon, pachd: Pachd, place: Path) -> None:
    before = restarts(pachd)
    dockerfile = place / "source" / "Dockerfile"
    good = dockerfile.read_text()
    dockerfile.write_text(good + "RUN false\n")
    assert daemon.ctl("wait", NAME, "--timeout", "120", check=False).returncode == 1
    assert "did not complete successfully" in daemon.notebook(NAME)["build"]["error"]
    assert contents(daemon, "train.py") == "ANSWER = 2\n"
    assert restarts(pachd) == before
    assert "failed to solve" in daemon.ctl("logs", NAME, "--stage", "build").stdout
    dockerfile.write_text(good)
    daemon.live(NAME)
    assert restarts(pachd) == before


def test_the_lines_of_the_host_come_to_its_log(daemon: Daemon) -> None:
    until(lambda: "Jupyter Server" in daemon.ctl("logs", NAME, "--stage", "host", "-v").stdout, "the host's lines")


def test_what_is_saved_while_pachd_is_away_is_in_the_notebook_and_recorded_when_it_is_back(
    daemon: Daemon, pachd: Pachd, place: Path
) -> None:
    pachd.turn(down=True)
    train = place / "source" / "model" / "train.py"
    train.write_text("ANSWER = 3\n")
    until(lambda: "cannot be reached" in (daemon.notebook(NAME)["reason"] or ""), "the trouble to be told")
    assert contents(daemon, "train.py") == "ANSWER = 3\n"
    train.write_text("ANSWER = 4\n")
    until(lambda: contents(daemon, "train.py") == "ANSWER = 4\n", "the save to reach the notebook")
    before = pachd.told()["commits"][f"default/source-{NAME}"]
    pachd.turn()
    daemon.live(NAME)
    assert contents(daemon, "train.py") == "ANSWER = 4\n"
    assert pachd.told()["commits"][f"default/source-{NAME}"] == before + 1


def test_what_is_saved_while_pachd_is_dead_is_deployed_when_it_is_back(
    daemon: Daemon, pachd: Pachd, place: Path
) -> None:
    """kill -9 and a start with the same state; nothing is sent twice."""
    before = pachd.told()["commits"]
    pachd.kill()
    (place / "source" / "model" / "train.py").write_text("ANSWER = 5\n")
    until(lambda: "cannot be reached" in (daemon.notebook(NAME)["reason"] or ""), "the trouble to be told")
    pachd.start_again()  # its pods begin anew: the host is silent for a while, which ends a wait for it
    until(lambda: daemon.notebook(NAME)["state"] == "live", "the notebook to be live again")
    assert contents(daemon, "train.py") == "ANSWER = 5\n"
    after = pachd.told()["commits"]
    assert after[f"default/source-{NAME}"] == before[f"default/source-{NAME}"] + 1
    assert after[f"default/data-{NAME}"] == before[f"default/data-{NAME}"]


def test_a_token_that_expires_is_told_and_what_is_saved_is_kept(daemon: Daemon, pachd: Pachd, place: Path) -> None:
    pachd.turn(expires=0.0)
    (place / "source" / "model" / "train.py").write_text("ANSWER = 6\n")
    until(lambda: "does not accept the token" in (daemon.notebook(NAME)["reason"] or ""), "the trouble to be told")
    until(lambda: "pachctl auth login" in (daemon.notebook(NAME)["reason"] or ""), "the mend to be told")
    assert contents(daemon, "train.py") == "ANSWER = 6\n"
    before = pachd.told()["commits"][f"default/source-{NAME}"]
    pachd.turn()
    daemon.live(NAME)
    assert pachd.told()["commits"][f"default/source-{NAME}"] == before + 1


def test_more_memory_is_a_new_pod_with_the_same_image(daemon: Daemon, pachd: Pachd, place: Path) -> None:
    before = pachd.told()
    daemon.deploy(NAME, place / "source", place / "data", "--engine", "pachyderm", "--memory", "3Gi")
    notebook = daemon.live(NAME)
    assert (notebook["resources"]["memory"], notebook["resources"]["enforced"]) == ("3Gi", True)
    after = pachd.told()
    assert restarts(pachd) == before["restarts"][f"default/{NAME}"] + 1
    assert after["commits"][f"default/source-{NAME}"] == before["commits"][f"default/source-{NAME}"]
    assert after["jobs"][f"default/build-{NAME}"] == before["jobs"][f"default/build-{NAME}"]


def test_a_host_that_is_refused_is_not_tried_again_and_the_one_before_serves(
    daemon: Daemon, pachd: Pachd, place: Path
) -> None:
    """No node has a GPU. What served before serves again after one outage, and nothing moves any more."""
    before = restarts(pachd)
    options = ("--engine", "pachyderm", "--memory", "3Gi", "--gpu")
    daemon.ctl("notebook", "deploy", "-s", str(place / "source"), "-d", str(place / "data"), *options, "1",
               "--name", NAME, "--detach")  # fmt: skip
    until(lambda: "Insufficient nvidia.com/gpu" in (daemon.notebook(NAME)["reason"] or ""), "the refusal", 90)
    until(lambda: daemon.notebook(NAME)["host"]["state"] == "PIPELINE_RUNNING", "the one before to serve", 60)
    assert contents(daemon, "train.py") == "ANSWER = 6\n"
    told = pachd.told()
    assert restarts(pachd) == before + 1
    for _ in range(15):
        time.sleep(1)  # each of the daemon's looks at the host would be the beginning of a loop
        assert daemon.notebook(NAME)["host"]["state"] == "PIPELINE_RUNNING"
    after = pachd.told()
    assert (after["restarts"], after["jobs"]) == (told["restarts"], told["jobs"])
    notebook = daemon.notebook(NAME)
    assert "Insufficient nvidia.com/gpu" in notebook["reason"]
    daemon.deploy(NAME, place / "source", place / "data", *options, "0")
    daemon.live(NAME)
    assert pachd.told()["restarts"] == told["restarts"]


def test_a_daemon_that_starts_again_finds_the_host(daemon: Daemon, pachd: Pachd) -> None:
    before = pachd.told()
    daemon.kill()
    daemon.start()
    daemon.live(NAME)
    after = pachd.told()
    assert restarts(pachd) == before["restarts"][f"default/{NAME}"]
    assert (after["commits"], after["jobs"]) == (before["commits"], before["jobs"])


def test_a_build_that_a_killed_daemon_began_is_waited_for_by_the_next(
    daemon: Daemon, pachd: Pachd, place: Path
) -> None:
    """One commit for Build, one job, one restart, as if nobody had been killed."""
    before = pachd.told()
    dockerfile = place / "source" / "Dockerfile"
    good = dockerfile.read_text()
    dockerfile.write_text(good + "RUN sleep 5\n")
    until(lambda: "RUN sleep" in daemon.ctl("logs", NAME, "--stage", "build").stdout, "the build to run")
    daemon.kill()
    daemon.start()
    daemon.live(NAME)
    after = pachd.told()
    for repo, commits in ((f"source-{NAME}", 2), (f"build-{NAME}", 1)):  # what is built, and the record of the version
        assert after["commits"][f"default/{repo}"] == before["commits"][f"default/{repo}"] + commits
    assert [state for state, _ in after["jobs"][f"default/build-{NAME}"]].count("JOB_KILLED") == [
        state for state, _ in before["jobs"][f"default/build-{NAME}"]
    ].count("JOB_KILLED")
    assert restarts(pachd) == before["restarts"][f"default/{NAME}"] + 1
    dockerfile.write_text(good)
    daemon.live(NAME)


def test_an_idle_notebook_asks_pachd_nothing(daemon: Daemon, pachd: Pachd) -> None:
    daemon.live(NAME)
    before = pachd.told()["calls"]
    for _ in range(3):
        daemon.status()
    assert {
        key: count - before.get(key, 0) for key, count in pachd.told()["calls"].items() if count != before[key]
    } == {}


def test_a_notebook_file_is_run_in_the_pod_and_a_stop_and_a_start_keep_the_edits(daemon: Daemon) -> None:
    write(daemon, "mine.py", "MINE = 4\n")
    write(daemon, "smoke.ipynb", notebook("import mine", "assert mine.MINE == 4"))
    assert daemon.json("run", NAME, "smoke.ipynb")["outcome"] == "passed"
    stopped = daemon.json("stop", NAME)
    assert (stopped["state"], stopped["host"]["state"]) == ("stopped", "PIPELINE_STANDBY")
    assert daemon.json("start", NAME)["outcome"] == "live"
    assert contents(daemon, "mine.py") == "MINE = 4\n"


def test_doctor_asks_the_cluster(daemon: Daemon, pachd: Pachd) -> None:
    checks = [check for check in daemon.json("doctor")["checks"] if check["code"] == "pachyderm"]
    told = {severity: [one["text"] for one in checks if one["severity"] == severity] for severity in ("ok", "warning")}
    assert len(told["ok"]) + len(told["warning"]) == len(checks)
    assert "pachd 2.11.6 answers at" in told["ok"][0]
    assert {"the token is that of user:ada", "the project default is there"} <= {*told["ok"]}
    assert any(text.startswith(f"the notebook {NAME} is reached at http://127.") for text in told["ok"])
    assert [text.partition(" cannot")[0] for text in told["warning"]] == ["the registry registry.test", "buildkitd"]


def test_a_notebook_is_not_forgotten_while_its_pipelines_cannot_be_removed(daemon: Daemon, pachd: Pachd) -> None:
    pachd.turn(down=True)
    refused = daemon.ctl("notebook", "kill", "-n", NAME, "-y", check=False)
    assert refused.returncode == 1
    assert "cannot be reached" in refused.stderr
    pachd.turn()
    daemon.live(NAME)


def test_kill_removes_the_pipelines_and_the_secret_and_keeps_the_repos(daemon: Daemon, pachd: Pachd) -> None:
    assert daemon.notebook(NAME)["repos"] == [f"source-{NAME}", f"data-{NAME}"]
    told_by = daemon.ctl("notebook", "kill", "-n", NAME, "-y").stdout
    assert f"kept: the repo data-{NAME} (pachctl delete repo data-{NAME})" in told_by
    told = pachd.told()
    assert (told["jobs"], told["secrets"]) == ({}, [])
    assert sorted(told["commits"]) == [f"default/data-{NAME}", f"default/source-{NAME}"]


def test_kill_with_keep_data_deletes_the_source_repo_alone_and_with_all_both(
    daemon: Daemon, pachd: Pachd, place: Path
) -> None:
    kept = {f"default/{repo}-{NAME}" for repo in ("source", "data")}
    for option, left in (("--keep-data", {"default/data-brief"}), ("--all", set())):
        daemon.deploy("brief", place / "source", place / "data", "--engine", "pachyderm")
        killed = daemon.json("notebook", "kill", "brief", "-y", option)
        assert set(pachd.told()["commits"]) == kept | left
        assert {f"default/{repo}" for repo in killed["repos"]["kept"]} == left


def test_another_engine_takes_over_and_leaves_nothing_running_there(daemon: Daemon, pachd: Pachd, place: Path) -> None:
    daemon.deploy("moved", place / "source", None, "--engine", "pachyderm")
    assert "default/moved" in pachd.told()["jobs"]
    daemon.deploy("moved", place / "source", None, "--engine", "process")
    assert daemon.live("moved")["engine"] == "process"
    assert "default/moved" not in pachd.told()["jobs"]
