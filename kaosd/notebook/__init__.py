"""One notebook's life: look, plan, one step, record, publish. See actor for the loop."""

from kaosd.notebook.actor import Notebook
from kaosd.notebook.explaining import explain
from kaosd.notebook.restoring import restore, restore_all
from kaosd.notebook.workshop import News, Workshop, secret_file

__all__ = ["News", "Notebook", "Workshop", "explain", "restore", "restore_all", "secret_file"]
