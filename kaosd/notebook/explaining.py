"""`kaosctl why`: what a change of one path means, and by which rule."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kaosd.declared import meaning
from kaosd.errors import NotFoundError
from kaosd.notebook import view

if TYPE_CHECKING:
    from kaosd.notebook.actor import Notebook


def explain(actors: Mapping[str, Notebook], path: str) -> dict[str, Any]:
    """The answer for the first notebook whose source or data directory holds *path*; blocking. NotFoundError."""
    encoded = os.fsencode(path)
    for name, actor in actors.items():
        for kind, root in (("source", actor.source), ("data", actor.data)):
            found = root.scanner.explain(encoded) if root is not None and root.watcher is not None else None
            if found is not None:
                inside, verdict = found
                read = actor.looking.disk_inputs() if kind == "source" else None
                if read is None:
                    return {"path": path, "notebook": name} | view.why(kind, inside, verdict, frozenset(), b"")
                inputs, top = frozenset(one for one, _ in read.files), os.fsencode(read.declared.root)
                does = meaning(read.declared, actor.spec.engine, os.fsdecode(inside)) if not verdict.ignored else ""
                return {"path": path, "notebook": name} | view.why(kind, inside, verdict, inputs, top, does)
    raise NotFoundError(f"{path} is in no notebook's source or data directory", hint="kaosctl status")
