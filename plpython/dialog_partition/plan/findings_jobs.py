"""What is wrong with the jobs of a hierarchy in pg_cron."""

from __future__ import annotations

from ..model import Hierarchy
from ..sql import Literal
from .finding import WARNING, Facts, Finding
from .schedule import JobState

FAILED, NONE = "failed", "none"
KINDS_OF_CALL = ("maintenance", "cluster", "prewarm")  # what dp.schedule makes when it is not told otherwise


def findings(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    """Jobs that are gone, that failed when they last ran, and that have not succeeded for some runs."""
    found = []
    for job in facts.expected.jobs:
        if not job.is_scheduled:
            text = "pg_cron has the job no more, or the database was restored elsewhere: it does not run."
            found.append(Finding(WARNING, "missing job", job.name, text, _schedule(hierarchy, facts.expected.jobs)))
        elif job.status == FAILED:
            text = f"Its last run failed: {(job.message or 'pg_cron does not say why').strip()}"
            found.append(Finding(WARNING, "failed job", job.name, text, None))
        if job.is_scheduled and job.is_late:
            since = f"since {job.last_success}" if job.last_success is not None else "yet"
            text = f"It has not succeeded {since}, for three runs by its schedule {job.schedule}: see dp.job."
            found.append(Finding(WARNING, "late job", job.name, text, None))
    return found


def _schedule(hierarchy: Hierarchy, jobs: tuple[JobState, ...]) -> str:
    """The call that makes them again, each by its own schedule."""
    schedules = dict.fromkeys(KINDS_OF_CALL, NONE)
    schedules.update((job.kind, job.schedule) for job in jobs)
    named = "".join(f", {kind} => {Literal(text)}" for kind, text in schedules.items())
    return f"SELECT * FROM dp.schedule({Literal(hierarchy.root.identifier.text)}{named})"
