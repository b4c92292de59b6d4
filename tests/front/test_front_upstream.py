"""The connections to the hosts: when they are closed."""

from __future__ import annotations

from kaosd.front.upstream import Upstreams


async def test_the_connections_to_an_earlier_host_are_closed() -> None:
    addresses: dict[str, str] = {"nb": "unix:/old", "other": "unix:/other"}
    hosts = Upstreams(addresses.get)
    async with hosts.use("other", "unix:/other") as other:
        async with hosts.use("nb", "unix:/old") as old:
            addresses["nb"] = "unix:/new"
            async with hosts.use("nb", "unix:/new") as new:
                assert not old.kept.closed  # a request is still there
        assert old.kept.closed
        del addresses["nb"]
        assert not new.kept.closed
        async with hosts.use("third", "unix:/third"):
            assert new.kept.closed
            assert not other.kept.closed
    await hosts.close()
    assert other.kept.closed
