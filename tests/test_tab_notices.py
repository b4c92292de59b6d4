"""Notices of open tabs, as a table: which, for how long, and what they offer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kaosd.model import ByHand, LostKernels, NotebookState, PackageChanges
from kaosd.notebook.guidance import Next
from kaosd.notebook.tab_notices import LONGEST, REMEMBERED, Causes, Copy, TabNotice, Updated, brief, notices, packages
from kaosd.planner import Hold, Why

NOW = 1_800_000_000.0
LIVE = Causes("n", NOW, NotebookState.LIVE, None, NOW - 60, serving=True, host_since=NOW - 500)
WAITING = replace(
    LIVE, state=NotebookState.HELD, reason="1 kernel is busy", hold=Hold(Why.BUSY, "1 kernel is busy", 600.0), busy=1
)
FAILED = replace(LIVE, state=NotebookState.FAILED, reason="model/requirements.txt:3: no package nunpy\nmore of it")
AGAIN = Next("try again now", "kaosctl redeploy n", "redeploy", {"force": False, "now": False})
LOOK = Next("logs", "kaosctl logs n --stage build")
GONE = Hold(
    Why.MASS_CHANGE, "30 of 40 files are gone; `kaosctl redeploy n --force` deploys it", brief="30 files are gone"
)
TABULATE = ByHand("tabulate", "0.9.0", True)
CHANGE = PackageChanges(("scipy",), (), (("numpy", "2.1", "2.2"),))
NEW = Updated("abcdef012345", NOW - 5, ("k1",), CHANGE)
COPY = Copy("n.ipynb", "/state/recovered/1/tabs/n.ipynb", NOW - 10, merged=True)


def only(seen: Causes) -> TabNotice:
    """The one notice that there is."""
    (found,) = notices(seen)
    return found


def offers(notice: TabNotice) -> list[tuple[str, object]]:
    """The labels of its buttons with what they do."""
    shown = [button.shown() for button in notice.buttons]
    return [(one["label"], one["action"] or one["page"]) for one in shown]


def test_a_notebook_that_is_well_has_no_notice() -> None:
    assert notices(LIVE) == []


def test_a_swap_that_stops_busy_kernels_is_announced_with_the_time_that_is_left() -> None:
    notice = only(replace(WAITING, until=NOW + 580))
    assert (notice.id, notice.tone, notice.until, notice.since) == ("swap", "warn", NOW + 580, NOW - 60)
    assert notice.text.endswith("That stops a busy kernel.")
    assert offers(notice) == [
        ("Now", {"verb": "redeploy", "body": {"force": False, "now": True}}),
        ("Wait until idle", {"verb": "redeploy", "body": {"when_idle": True}}),
    ]


def test_one_that_waits_without_limit_only_offers_to_come_now() -> None:
    notice = only(replace(WAITING, busy=2))
    assert notice.until is None
    assert "2 busy kernels, and waits until no kernel is busy" in notice.text
    assert [label for label, _ in offers(notice)] == ["Now"]


def test_a_failure_shows_its_first_line_and_what_can_be_done_here() -> None:
    notice = only(replace(FAILED, build_failed=True, steps=[LOOK, AGAIN]))
    assert notice.shown()["text"] == "The build failed: model/requirements.txt:3: no package nunpy"
    assert offers(notice) == [
        ("Show", {"section": "build"}),
        ("try again now", {"verb": "redeploy", "body": {"force": False, "now": False}}),
    ]
    assert offers(only(FAILED)) == [("Show", {"section": "logs"})]


def test_held_code_and_data_are_notices_of_their_own() -> None:
    force = Next("deploy it all the same", "kaosctl redeploy n --force", "redeploy", {"force": True, "now": False})
    broken = Hold(Why.PROBLEM, "/data does not exist")
    held = replace(LIVE, state=NotebookState.HELD, reason="x", hold=GONE, source=GONE, data=broken, steps=[force])
    source, data = notices(held)
    assert (source.id, source.text) == ("held source", "New code is held: 30 files are gone")
    assert [label for label, _ in offers(source)] == ["deploy it all the same"]
    assert (data.id, data.text, data.buttons) == ("held data", "New data is held: /data does not exist", ())


def test_a_hold_that_passes_by_itself_or_was_asked_for_is_no_notice() -> None:
    for why in (Why.SETTLING, Why.SAVING, Why.PAUSED, Why.PINNED):
        hold = Hold(why, "x")
        assert notices(replace(LIVE, state=NotebookState.HELD, reason="x", hold=hold, source=hold)) == []


def test_lost_variables_are_told_for_a_day() -> None:
    lost = LostKernels(None, "the machine ran out of memory", NOW - 100)
    notice = only(replace(LIVE, lost=lost))
    assert (notice.id, notice.tone, notice.since) == ("lost", "bad", NOW - 100)
    assert notice.text == "The variables of your kernels were lost: the machine ran out of memory"
    assert only(replace(LIVE, lost=replace(lost, kernels=1))).text.startswith("The variables of a kernel were")
    assert only(replace(LIVE, lost=replace(lost, kernels=2))).text.startswith("The variables of 2 kernels were")
    assert notices(replace(LIVE, lost=replace(lost, at=NOW - REMEMBERED - 1))) == []


def test_what_happened_to_a_host_and_memory_near_the_limit() -> None:
    host, memory = notices(replace(LIVE, happened="a kernel was stopped", memory="memory 3.7 of 4.0 Gi"))
    assert (host.text, host.tone) == ("a kernel was stopped", "bad")
    assert memory.text == "Near the limit: memory 3.7 of 4.0 Gi is in use. A kernel that needs more is stopped."


@pytest.mark.parametrize(
    ("copy", "text"),
    [
        (COPY, "merged with your edit of n.ipynb. "),
        (replace(COPY, others=2), "merged with your edit of n.ipynb (and 2 more). "),
        (replace(COPY, merged=False), "deployed over your edit of n.ipynb. "),
    ],
)
def test_a_change_that_met_an_edit_shows_both(copy: Copy, text: str) -> None:
    notice = only(replace(LIVE, copy=copy))
    assert text in notice.text
    assert notice.tone == ("ok" if copy.merged else "warn")
    assert offers(notice) == [("Show both", {"copy": copy.file})]
    assert notices(replace(LIVE, copy=replace(copy, at=NOW - REMEMBERED - 1))) == []


def test_a_new_environment_is_told_while_a_kernel_does_not_have_it() -> None:
    notice = only(replace(LIVE, updated=NEW))
    assert notice.id == "environment abcdef0"
    assert notice.text.startswith("The environment was updated: +scipy, numpy 2.1 → 2.2. ")
    assert offers(notice) == [("Restart kernel", {"kernels": ["k1"]})]
    assert notices(replace(LIVE, updated=replace(NEW, kernels=()))) == []
    unknown = replace(NEW, change=None)
    assert only(replace(LIVE, updated=unknown)).text.startswith("The environment was updated. ")


def test_many_packages_are_counted() -> None:
    assert packages(replace(CHANGE, removed=("six", "toml"))) == "+scipy, numpy 2.1 → 2.2, \N{MINUS SIGN}six and 1 more"


def test_packages_by_hand_can_be_added_to_the_file_in_use() -> None:
    other = ByHand("rich", "14.0", True)
    notice = only(
        replace(LIVE, by_hand=(TABULATE, other, ByHand("wcwidth", "1", False)), file="model/requirements.txt")
    )
    assert notice.text == "tabulate and rich are installed by hand, and not in model/requirements.txt."
    assert offers(notice) == [
        ("Add to requirements.txt", {"verb": "add", "body": {"packages": ["tabulate==0.9.0", "rich==14.0"]}})
    ]
    assert notice.buttons[0].step.command == "kaosctl add n tabulate==0.9.0 rich==14.0"
    assert only(replace(LIVE, by_hand=(TABULATE,))).id != notice.id  # another set, for who dismissed the first


def test_texts_fit_what_jupyterlab_shows() -> None:
    long = replace(FAILED, reason="x" * 500)
    assert len(only(long).shown()["text"]) == LONGEST
    assert brief("\n  a\nb") == "a"
    several = replace(LIVE, by_hand=tuple(ByHand(f"p{k}", "1", True) for k in range(9)))
    assert "p0, p1, p2 and 6 more are" in only(several).text


def test_the_most_urgent_notice_is_the_first() -> None:
    all_at_once = replace(
        WAITING, until=NOW + 5, by_hand=(TABULATE,), updated=NEW, copy=COPY, lost=LostKernels(1, "x", NOW)
    )
    ids = [one.id for one in notices(all_at_once)]
    assert ids == ["swap", "lost", "merged", "environment abcdef0", "by hand tabulate==0.9.0"]
