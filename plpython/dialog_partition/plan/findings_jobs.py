"""What is wrong with the jobs of a hierarchy in pg_cron."""

from __future__ import annotations

from ..model import Hierarchy
from . import schedule
from .finding import WARNING, Facts, Finding

FAILED = "failed"


def findings(hierarchy: Hierarchy, facts: Facts) -> list[Finding]:
    """Jobs that are gone, that failed when they last ran, and that have not succeeded for some runs."""
    found = []
    jobs = facts.expected.jobs
    if jobs.unseen is not None:
        text = f"Whether they run is not known: {jobs.unseen}"
        found.append(Finding(WARNING, "unseen jobs", hierarchy.root.identifier.text, text, None))
    again = schedule.again(hierarchy.root.identifier).text
    for job in jobs.seen:
        if not job.is_scheduled:
            text = f"{hierarchy.root.owner}, whose the root is, has no such job in pg_cron any more: it does not run."
            found.append(Finding(WARNING, "missing job", job.name, text, again))
        elif job.status == FAILED:
            text = f"Its last run failed: {(job.message or 'pg_cron does not say why').strip()}"
            found.append(Finding(WARNING, "failed job", job.name, text, None))
        if job.is_scheduled and job.is_late:
            since = f"since {job.last_success}" if job.last_success is not None else "yet"
            text = f"It has not succeeded {since}, for three runs by its schedule {job.schedule}: see dp.job."
            found.append(Finding(WARNING, "late job", job.name, text, None))
    return found
