"""How the packages of one environment differ from those of another. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from kaosd.model import PackageChanges


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> PackageChanges:
    """What differs between two environments, each as versions by name."""
    return PackageChanges(
        tuple(sorted(after.keys() - before.keys())),
        tuple(sorted(before.keys() - after.keys())),
        tuple((one, old, after[one]) for one, old in sorted(before.items()) if after.get(one, old) != old),
    )
