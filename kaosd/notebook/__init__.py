"""One notebook's life: look, plan, one step, record, publish. See actor for the loop."""

from kaosd.notebook.actor import Notebook
from kaosd.notebook.explaining import explain
from kaosd.notebook.restoring import restore
from kaosd.notebook.retention import collect, kept_environments
from kaosd.notebook.workshop import News, Workshop, secret_file

__all__ = ["News", "Notebook", "Workshop", "collect", "explain", "kept_environments", "restore", "secret_file"]
