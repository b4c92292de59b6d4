"""What the daemon must still know after a crash, in one sqlite file in the state directory.

Registrations, what each notebook serves and what people want of it, deployments and jobs, versions, recovered
files, and the numbered stream of events. Nothing here reads a clock: times are arguments. No secrets are kept.
"""

from kaosd.journal.events import EventLog
from kaosd.journal.history import History
from kaosd.journal.migration import SCHEMA
from kaosd.journal.notebook_rows import Notebooks
from kaosd.journal.rows import Event, Intent, KnownVersion, Live, Recovered, Registration
from kaosd.journal.versions import Versions

__all__ = ["SCHEMA", "Event", "Intent", "Journal", "KnownVersion", "Live", "Recovered", "Registration"]


class Journal(Notebooks, History, Versions, EventLog):
    """The journal: one connection and one lock, so that any thread may call any method.

    Each method is one transaction: it happens wholly or not at all, also under kill -9. All raise StoreError.
    See Database for opening, and `repaired` for what happened to a damaged file.
    """
