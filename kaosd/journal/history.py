"""Deployments and the jobs within them."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from kaosd.errors import NotFoundError
from kaosd.journal.database import Database
from kaosd.journal.rows import decode, encode
from kaosd.model import Deployment, Job, JobState, Stage

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from kaosd.model import DeployCheck, Version

KEEP_DEPLOYMENTS = 1000  # per notebook, with their jobs
DAEMON_ENDED = "the daemon ended"


class History(Database):
    """What was tried, and how it went. Numbers continue where they were after any restart."""

    def begin_deployment(
        self,
        notebook: str,
        cause: tuple[str, ...],
        source: Version | None,
        data: Version | None,
        action: str,
        at: float,
    ) -> Deployment:
        """A new deployment with the next number; the oldest beyond KEEP_DEPLOYMENTS go.

        Numbers only grow: what `drop_deployment` has taken out leaves a gap.
        """
        with self._transaction() as db:
            newest = db.execute("SELECT MAX(number) FROM deployments WHERE notebook = ?", (notebook,)).fetchone()[0]
            deployment = Deployment(notebook, (newest or 0) + 1, cause, action, source, data, at)
            _save(db, deployment)
            oldest = "SELECT number FROM deployments WHERE notebook = ? ORDER BY number DESC LIMIT 1 OFFSET ?"
            row = db.execute(oldest, (notebook, KEEP_DEPLOYMENTS)).fetchone()
            if row is not None:
                db.execute("DELETE FROM jobs WHERE notebook = ? AND deployment <= ?", (notebook, row[0]))
                db.execute("DELETE FROM deployments WHERE notebook = ? AND number <= ?", (notebook, row[0]))
        return deployment

    def drop_deployment(self, one: Deployment) -> bool:
        """Take a deployment out of the history, and its versions as far as no other one brought them.

        False, and nothing is changed, when it has jobs or copies of edits.
        """
        key = (one.notebook, one.number)
        with self._transaction() as db:
            uses = "SELECT EXISTS (SELECT 1 FROM {} WHERE notebook = ?{})"
            jobs = db.execute(uses.format("jobs", " AND deployment = ?"), key).fetchone()[0]
            copies = " AND json_extract(body, '$.deployment') = ?"
            if jobs or db.execute(uses.format("recovered", copies), key).fetchone()[0]:
                return False
            db.execute("DELETE FROM deployments WHERE notebook = ? AND number = ?", key)
            for kind, version in (("source", one.source), ("data", one.data)):
                digest = version.digest if version is not None else ""
                others = f" AND json_extract(body, '$.{kind}.digest') = ?"
                if not db.execute(uses.format("deployments", others), (one.notebook, digest)).fetchone()[0]:
                    forget = "DELETE FROM versions WHERE notebook = ? AND kind = ? AND digest = ?"
                    db.execute(forget, (one.notebook, kind, digest))
        return True

    def update_deployment(self, notebook: str, number: int, *, action: str) -> Deployment:
        """Name the costliest step that the deployment takes."""
        return self._change(notebook, number, lambda one: replace(one, action=action))

    def note_checks(self, notebook: str, number: int, checks: tuple[DeployCheck, ...]) -> Deployment:
        """Say how far the notebook files that are run after the deployment have got. NotFoundError when it is gone."""
        return self._change(notebook, number, lambda one: replace(one, checks=checks))

    def finish_deployment(self, notebook: str, number: int, outcome: str, error: str | None, at: float) -> Deployment:
        """Say how the deployment went: "live", "failed", "superseded" or "cancelled"."""
        return self._change(notebook, number, lambda one: replace(one, outcome=outcome, error=error, finished_at=at))

    def deployments(self, notebook: str, limit: int) -> tuple[Deployment, ...]:
        """The newest deployments, newest first."""
        query = "SELECT body FROM deployments WHERE notebook = ? ORDER BY number DESC LIMIT ?"
        return tuple(decode(Deployment, body) for (body,) in self._rows(query, notebook, limit))

    def begin_job(self, notebook: str, number: int, stage: Stage, at: float) -> Job:
        """A new job of deployment *number*, starting."""
        job = Job(secrets.token_hex(16), notebook, number, stage, JobState.STARTING, at)
        with self._transaction() as db:
            _save(db, job)
        return job

    def job_log(self, job_id: str, log: str) -> Job:
        """Name the file with the job's lines."""
        return self._change_job(job_id, lambda job: replace(job, log=log))

    def job_state(self, job_id: str, state: JobState, error: str | None = None, at: float | None = None) -> Job:
        """Say how far the job is; *at*: when it ended, None while it runs."""
        return self._change_job(job_id, lambda job: replace(job, state=state, error=error, finished_at=at))

    def job_ready(self, job_id: str, at: float) -> Job:
        """Say that what the job makes is there, and runs."""
        return self._change_job(job_id, lambda job: replace(job, state=JobState.RUNNING, ready_at=at))

    def job(self, job_id: str) -> Job | None:
        """One job by its id."""
        rows = self._rows("SELECT body FROM jobs WHERE id = ?", job_id)
        return decode(Job, rows[0][0]) if rows else None

    def jobs(self, notebook: str, number: int) -> tuple[Job, ...]:
        """The jobs of a deployment in the order in which they started."""
        query = "SELECT body FROM jobs WHERE notebook = ? AND deployment = ? ORDER BY rowid"
        return tuple(decode(Job, body) for (body,) in self._rows(query, notebook, number))

    def last_job(self, notebook: str, stage: Stage, state: JobState) -> Job | None:
        """The job of this stage that started last of those that came to *state*."""
        query = """SELECT body FROM jobs WHERE notebook = ? AND json_extract(body, '$.stage') = ?
            AND json_extract(body, '$.state') = ? ORDER BY rowid DESC LIMIT 1"""
        rows = self._rows(query, notebook, stage, state)
        return decode(Job, rows[0][0]) if rows else None

    def stage_seconds(self, notebook: str, stage: Stage) -> tuple[float, ...]:
        """How long the last jobs of *stage* that succeeded took, newest first.

        Those of all notebooks when this one has none. Of a host it is the time until it answered.
        """
        query = """SELECT body FROM jobs WHERE (notebook = ?1 OR ?1 = '') AND json_extract(body, '$.stage') = ?2
            AND (json_extract(body, '$.ready_at') IS NOT NULL OR json_extract(body, '$.state') = ?3)
            ORDER BY rowid DESC LIMIT 20"""
        for which in (notebook, ""):
            jobs = [decode(Job, body) for (body,) in self._rows(query, which, stage, JobState.SUCCESS)]
            ends = [(job, job.ready_at or job.finished_at) for job in jobs]
            if jobs:
                return tuple(end - job.started_at for job, end in ends if end is not None)
        return ()

    def interrupted(self, at: float) -> tuple[tuple[Deployment, ...], tuple[Job, ...]]:
        """End what an earlier daemon left unfinished; to be called once, at start.

        Its jobs become JOB_KILLED and its deployments "superseded"; both are returned as they are now.
        """
        with self._transaction() as db:
            begun = db.execute(
                "SELECT body FROM deployments WHERE json_extract(body, '$.finished_at') IS NULL"
            ).fetchall()
            deployments = tuple(
                replace(decode(Deployment, body), outcome="superseded", error=DAEMON_ENDED, finished_at=at)
                for (body,) in begun
            )
            begun = db.execute("SELECT body FROM jobs WHERE json_extract(body, '$.finished_at') IS NULL").fetchall()
            jobs = tuple(
                replace(decode(Job, body), state=JobState.KILLED, error=DAEMON_ENDED, finished_at=at)
                for (body,) in begun
            )
            for deployment in deployments:
                _save(db, deployment)
            for job in jobs:
                _save(db, job)
        return deployments, jobs

    def _change(self, notebook: str, number: int, change: Callable[[Deployment], Deployment]) -> Deployment:
        query = "SELECT body FROM deployments WHERE notebook = ? AND number = ?"
        with self._transaction() as db:
            row = db.execute(query, (notebook, number)).fetchone()
            if row is None:
                raise NotFoundError(f"notebook {notebook!r} has no deployment {number}")
            deployment = change(decode(Deployment, row[0]))
            _save(db, deployment)
        return deployment

    def _change_job(self, job_id: str, change: Callable[[Job], Job]) -> Job:
        with self._transaction() as db:
            row = db.execute("SELECT body FROM jobs WHERE id = ?", (job_id,)).fetchone()
            if row is None:
                raise NotFoundError(f"there is no job {job_id}")
            job = change(decode(Job, row[0]))
            _save(db, job)
        return job


def _save(db: sqlite3.Connection, one: Deployment | Job) -> None:
    """Insert, or change in place: the order of rows is the order in which they started."""
    if isinstance(one, Job):
        query = "INSERT INTO jobs VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body"
        db.execute(query, (one.id, one.notebook, one.deployment, encode(one)))
    else:
        query = "INSERT INTO deployments VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body"
        db.execute(query, (one.notebook, one.number, encode(one)))
