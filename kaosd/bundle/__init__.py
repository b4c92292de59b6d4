"""Bundles: which files count, their versions in a content-addressed store, and bringing versions to the host."""

from kaosd.bundle.attach import attach, attach_link, attached
from kaosd.bundle.durable import sync_files
from kaosd.bundle.edit_survey import EditSurvey, HostedEdit
from kaosd.bundle.edits import keep_edits
from kaosd.bundle.ignore import Matcher, Verdict
from kaosd.bundle.replacer import SavedCopy
from kaosd.bundle.restore import restore
from kaosd.bundle.scan import Scanner
from kaosd.bundle.scan_result import Refused, Scan, mass_change
from kaosd.bundle.source import StoredInputs, declared_of, environment_digest, environment_inputs, find_base, model_tree
from kaosd.bundle.store import Store
from kaosd.bundle.sweep import Swept
from kaosd.bundle.sync import UNKNOWN, Action, SyncReport, decide, sync
from kaosd.bundle.tree import Entry, TreeChange, diff, lookup, walk
from kaosd.bundle.writing import export_tree
from kaosd.hosted.states import State

__all__ = [
    "UNKNOWN",
    "Action",
    "EditSurvey",
    "Entry",
    "HostedEdit",
    "Matcher",
    "Refused",
    "SavedCopy",
    "Scan",
    "Scanner",
    "State",
    "Store",
    "StoredInputs",
    "Swept",
    "SyncReport",
    "TreeChange",
    "Verdict",
    "attach",
    "attach_link",
    "attached",
    "decide",
    "declared_of",
    "diff",
    "environment_digest",
    "environment_inputs",
    "export_tree",
    "find_base",
    "keep_edits",
    "lookup",
    "mass_change",
    "model_tree",
    "restore",
    "sync",
    "sync_files",
    "walk",
]
