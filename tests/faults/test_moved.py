"""A host that answers at another address than before, on an engine without processes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from kaosd.model import Host, HostStatus, NotebookState
from tests.faults.test_actor_model import Life


@pytest.fixture
async def life() -> AsyncIterator[Life]:
    """A notebook that is live."""
    place = Path(tempfile.mkdtemp(prefix="km"))
    one = Life(place, 1)
    assert await one.actor.settled() == "live"
    yield one
    await one.end()
    shutil.rmtree(place)


async def test_a_host_that_has_moved_is_followed_and_not_called_silent(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosting, probe = life.actor.hosting, life.engine.probe
    old = hosting.live.host
    assert old is not None
    new = replace(old, upstream="unix:/elsewhere")

    async def at_its_address(host: Host) -> HostStatus:
        if host.upstream != new.upstream:
            return HostStatus(alive=True, answering=False, reason="it is at another address now", moved=new)
        return await probe(host)

    monkeypatch.setattr(life.engine, "probe", at_its_address)
    await hosting.probe(now=True)
    assert (hosting.live.host, life.journal.live("n").host) == (new, new)
    assert life.actor.state() == (NotebookState.LIVE, None)
    assert await life.actor.settled() == "live"
