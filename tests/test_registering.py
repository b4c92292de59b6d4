"""What a person may say of a notebook when it is registered, again and again: names, options, and another source."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kaosd.bundle import Store
from kaosd.engines.docker import DockerEngine
from kaosd.engines.process import ProcessEngine
from kaosd.errors import ConfigError, ConflictError
from kaosd.journal import Journal, Live, Registration
from kaosd.model import NotebookSpec, Resources, Version
from kaosd.notebook import News, Notebook, Workshop
from kaosd.registry import Registry
from kaosd.settings import Settings, load
from kaosd.settings.naming import candidates
from kaosd.watch import Watcher


class Still(Registry):
    """A registry whose notebooks do nothing; put: what was added or changed, in order."""

    def __init__(self, shop: Workshop, group: asyncio.TaskGroup, environ: dict[str, str]) -> None:
        super().__init__(shop, group)
        self.put: list[NotebookSpec] = []
        self.environ = environ

    async def _put(self, spec: NotebookSpec) -> None:
        self.put.append(spec)
        self.actors[spec.name] = Notebook(spec, self.shop)

    async def _remove(self, name: str) -> None:
        del self.actors[name]

    def settings(self, text: str = "") -> Settings:
        """The settings of a file with this *text*."""
        file = self.shop.state_dir.parent / "kaosd.toml"
        file.write_text(text)
        return load(file, self.environ)

    async def ask(self, text: str = "", *, replacing: bool = False, **fields: Any) -> NotebookSpec:
        """Deploy what *fields* say, with the settings of *text*; what the notebook is then."""
        return self.actors[await self.deploy(fields, self.settings(text), replacing=replacing)].spec


@pytest.fixture
async def registry(short: Path) -> AsyncIterator[Still]:
    state = short / "state"
    state.mkdir(mode=0o700)
    watcher, engine = Watcher(), ProcessEngine(state / "environments")
    docker = DockerEngine(state, socket=str(short / "nobody.sock"))
    environ = {"HOME": str(short), "KAOSD_STATE_DIR": str(state)}
    with Journal(state / "journal.sqlite", 1.0) as journal, contextlib.closing(Store(state / "store")) as store:
        shop = Workshop(
            state_dir=state, store=store, journal=journal, watcher=watcher,
            engines={"process": engine, "docker": docker}, empty=short / "empty", origins=(),
            front_url="http://127.0.0.1:1", news=News(),
        )  # fmt: skip
        async with asyncio.TaskGroup() as group:
            yield Still(shop, group, environ)
        await engine.close()
        await docker.close()
        await watcher.close()


def source(path: Path) -> str:
    """A source directory."""
    (path / "model").mkdir(parents=True)
    (path / "model" / "requirements.txt").write_text("")
    return str(path)


# -- names


async def test_two_directories_of_one_name_are_two_notebooks_and_each_is_found_again(
    registry: Still, short: Path
) -> None:
    one, two = source(short / "a" / "mnist"), source(short / "b" / "mnist")
    first, second = await registry.ask(source=one), await registry.ask(source=two)
    assert (first.name, second.name) == ("mnist", candidates(two)[1])
    assert await registry.ask(source=two) == second
    assert await registry.ask(source=f"{one}/") == first
    assert sorted(registry.actors) == sorted([first.name, second.name])


async def test_a_workspace_or_a_name_is_the_name_as_ever(registry: Still, short: Path) -> None:
    path = source(short / "mnist")
    assert (await registry.ask(source=path, workspace="vision", user="ada")).name == "notebook-vision-ada"
    assert (await registry.ask(source=path, name="mine", workspace="vision")).name == "mine"
    assert (await registry.ask(source=path)).name == "mnist"
    data = short / "numbers"
    data.mkdir()
    assert (await registry.ask(data=str(data))).name == "numbers"
    assert (await registry.ask(user="ada")).name == "notebook-default-ada"


async def test_what_an_earlier_version_registered_keeps_its_name(registry: Still, short: Path) -> None:
    path, settings = source(short / "mnist"), registry.settings()
    old = f"notebook-default-{settings.login}"
    body = {"name": old, "workspace": "default", "user": settings.login, "engine": "process", "source": path}
    registry.shop.journal.register(Registration(old, body | {"swap_when_idle": 600.0}, complete=True))
    await registry.apply(settings)
    assert (await registry.ask(source=path)).name == old
    assert (await registry.ask(source=source(short / "other"))).name == "other"


async def test_unnamed_notebooks_of_the_file_get_names_that_stay_theirs(registry: Still, short: Path) -> None:
    one, two = source(short / "a" / "mnist"), source(short / "b" / "mnist")
    tables = {path: f"[[notebook]]\nsource = '{path}'\n" for path in (one, two)}
    await registry.apply(registry.settings(tables[one] + tables[two]))
    named = {str(actor.spec.source): name for name, actor in registry.actors.items()}
    assert named == {one: "mnist", two: candidates(two)[1]}
    for text in (tables[two] + tables[one], tables[two], tables[one] + tables[two]):
        await registry.apply(registry.settings(text))
        for actor in registry.actors.values():
            assert actor.spec.name == named[str(actor.spec.source)]


async def test_an_unnamed_notebook_of_the_file_never_takes_a_registered_one(registry: Still, short: Path) -> None:
    one, two = source(short / "a" / "mnist"), source(short / "b" / "mnist")
    await registry.ask(source=one)
    await registry.apply(registry.settings(f"[[notebook]]\nsource = '{two}'"))
    assert sorted(registry.actors) == sorted(["mnist", candidates(two)[1]])
    await registry.apply(registry.settings(f"[[notebook]]\nname = 'mnist'\nsource = '{two}'"))
    assert str(registry.actors["mnist"].spec.source) == one
    assert "was registered before, with the source" in registry.refused["mnist"]
    await registry.apply(registry.settings(f"[[notebook]]\nname = 'mnist'\nsource = '{one}'"))
    assert (registry.refused, registry.actors["mnist"].spec.registered) == ({}, False)


async def test_an_unnamed_notebook_of_the_file_keeps_the_name_of_an_earlier_version(
    registry: Still, short: Path
) -> None:
    path, settings = source(short / "mnist"), registry.settings()
    old = f"notebook-default-{settings.login}"
    registry.shop.journal.save_live(old, Live(source=Version("mnist", "a" * 64)))
    await registry.apply(registry.settings(f"[[notebook]]\nsource = '{path}'"))
    assert list(registry.actors) == [old]


# -- options


async def test_an_option_that_is_not_given_stays_and_one_that_is_null_is_inherited_again(
    registry: Still, short: Path
) -> None:
    path = source(short / "mnist")
    data = short / "data"
    data.mkdir()
    given = {"memory": "4Gi", "cpu": 2.0, "gpu": 0, "data": str(data), "user": "ada", "environment_inputs": ["a"]}
    first = await registry.ask(source=path, **given)
    assert await registry.ask(source=path) == first
    assert await registry.ask(name="mnist") == first
    more = await registry.ask(name="mnist", memory="8Gi")
    assert more == replace(first, resources=replace(first.resources, memory="8Gi"))
    less = await registry.ask(name="mnist", memory=None, cpu=None, data=None, user=None, environment_inputs=None)
    assert less == replace(
        first, resources=Resources(), data=None, user=registry.settings().login, environment_inputs=()
    )


async def test_a_request_that_is_refused_changes_nothing(registry: Still, short: Path) -> None:
    path = source(short / "mnist")
    first = await registry.ask(source=path, memory="4Gi")
    for wrong in ({"memory": "much"}, {"cpu": -1}, {"data": str(short / "nowhere")}, {"engine": "vm"}):
        with pytest.raises(ConfigError):
            await registry.ask(name="mnist", **wrong)
    assert registry.actors["mnist"].spec == first
    assert [one.given for one in registry.shop.journal.registered()] == [{"source": path, "memory": "4Gi"}]


async def test_a_directory_that_is_gone_keeps_nobody_from_changing_another_option(registry: Still, short: Path) -> None:
    path = source(short / "mnist")
    await registry.ask(source=path)
    Path(path).rename(short / "away")
    assert (await registry.ask(name="mnist", memory="4Gi")).resources.memory == "4Gi"


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [("swap_when_idle = '1m'", "swap_when_idle", 60.0), ("engine = 'docker'", "engine", "docker")],
)
async def test_what_was_not_given_follows_the_settings_also_after_a_restart(
    registry: Still, short: Path, text: str, field: str, value: object
) -> None:
    path = source(short / "mnist")
    before = await registry.ask(source=path)
    assert await registry.apply(registry.settings(text)) == ["mnist"]
    assert registry.actors["mnist"].spec == replace(before, **{field: value})
    registry.actors.clear()  # another daemon
    await registry.apply(registry.settings(text))
    assert registry.actors["mnist"].spec == replace(before, **{field: value})
    assert await registry.apply(registry.settings()) == ["mnist"]
    assert registry.actors["mnist"].spec == before


@pytest.mark.parametrize(("field", "value"), [("swap_when_idle", 600.0), ("engine", "process")])
async def test_what_was_given_does_not_follow_the_settings(
    registry: Still, short: Path, field: str, value: object
) -> None:
    path = source(short / "mnist")
    first = await registry.ask(source=path, **{field: value})
    assert await registry.apply(registry.settings("swap_when_idle = 1\nengine = 'docker'")) == ["mnist"]
    assert getattr(registry.actors["mnist"].spec, field) == getattr(first, field)


async def test_a_registration_that_cannot_be_any_more_keeps_running_and_is_told(registry: Still, short: Path) -> None:
    first = await registry.ask(source=source(short / "mnist"))
    registry.shop.journal.register(Registration("mnist", {"source": "not/absolute"}))
    assert await registry.apply(registry.settings()) == []
    assert registry.actors["mnist"].spec == first
    assert "cannot be as it was registered; deploy it again: source: 'not/absolute'" in registry.refused["mnist"]


# -- another source


async def test_another_source_is_refused_with_both_paths_unless_it_is_to_replace_the_first(
    registry: Still, short: Path
) -> None:
    one, two = source(short / "one"), source(short / "two")
    await registry.ask(name="n", source=one, memory="4Gi")
    for wrong in ({"source": two}, {"source": None}):
        with pytest.raises(ConflictError) as refused:
            await registry.ask(name="n", **wrong)
        assert one in str(refused.value)
        assert str(wrong["source"] or "none at all") in str(refused.value)
        assert "--replace" in str(refused.value)
        assert str(registry.actors["n"].spec.source) == one
    now = await registry.ask(name="n", source=two, replacing=True)
    assert (str(now.source), now.resources.memory) == (two, "4Gi")
    assert [one.given["source"] for one in registry.shop.journal.registered()] == [two]


async def test_the_same_source_by_another_path_and_a_first_source_are_no_other_one(
    registry: Still, short: Path
) -> None:
    one = source(short / "one")
    (short / "link").symlink_to("one")
    await registry.ask(name="n")
    assert str((await registry.ask(name="n", source=one)).source) == one
    for path in (f"{one}/", f"{one}/../one", str(short / "link")):
        assert (await registry.ask(name="n", source=path)).name == "n"
    with pytest.raises(ConflictError):
        await registry.ask(name="n", source=source(short / "two"))


# -- stopped


@pytest.mark.parametrize("change", [{"cpu": 2.0}, {}])
async def test_to_deploy_a_stopped_notebook_starts_it(registry: Still, short: Path, change: dict[str, Any]) -> None:
    path = source(short / "mnist")
    await registry.ask(source=path, name="n")
    registry.actors["n"].stop()
    assert registry.shop.journal.intent("n").stopped == "stopped by you"
    await registry.ask(source=path, name="n", **change)
    assert registry.shop.journal.intent("n").stopped == ""


# -- who asks while notebooks change


async def test_nobody_is_told_that_a_notebook_is_not_there_while_the_daemon_starts(
    registry: Still, short: Path
) -> None:
    text = f"[[notebook]]\nname = 'n'\nsource = '{source(short / 'one')}'\n"
    asked = [asyncio.create_task(registry.certain(name)) for name in ("", "n", "none")]
    await asyncio.sleep(0)
    assert not any(task.done() for task in asked)
    await registry.apply(registry.settings(text))
    await asyncio.gather(*asked)
    assert list(registry.actors) == ["n"]
