"""Checkpoints of files in a directory of their own, so that the notebook root holds nothing but the bundle."""

from __future__ import annotations

import os

from jupyter_server.services.contents.filecheckpoints import AsyncFileCheckpoints


class Checkpoints(AsyncFileCheckpoints):
    """Checkpoints below the absolute `checkpoint_dir`, in the same folders as the files they belong to."""

    def checkpoint_path(self, checkpoint_id: str, path: str) -> str:
        """The file of one checkpoint. Without the folders, files of equal names would share it."""
        folder, name = os.path.split(path.strip("/"))
        stem, extension = os.path.splitext(name)
        directory = os.path.join(self.checkpoint_dir, folder)
        os.makedirs(directory, exist_ok=True)
        return os.path.join(directory, f"{stem}-{checkpoint_id}{extension}")
