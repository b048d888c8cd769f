"""schedule, unschedule: jobs of a hierarchy in pg_cron; and the view that shows them."""

from __future__ import annotations

import datetime
from typing import NamedTuple

from .. import cron, database, errors
from ..catalog import cache as catalog_cache
from ..catalog import cron as catalog
from ..catalog import server as catalog_server
from ..model import Hierarchy
from ..operation import Step
from ..plan import schedule as plan
from . import calls
from .upkeep import ANALYZE_ONLY_SINCE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..catalog.cron import Cron, FoundJob
    from ..execute import Context
    from ..printing import PlanRow

UNKNOWN = "unknown"  # of a job that the caller cannot see
MISSED_RUNS = 3  # without success: a job is late from then on
SHORTEST_DELAY = datetime.timedelta(minutes=15)  # of jobs that run each few seconds


def schedule(
    root: int,
    maintenance: str | None,
    cluster: str | None,
    prewarm: str | None,
    statistics: str | None,
    vacuum: str | None,
    connection: str | None,
    cron_connection: str | None,
    dry_run: bool,
) -> list[PlanRow]:
    """Make the jobs what was asked for; see sql/functions/schedule.sql.j2."""
    given = dict(zip(plan.KINDS, (maintenance, cluster, prewarm, statistics, vacuum)))
    for kind, text in given.items():
        if text is not None and text.strip().lower() != plan.NONE:
            cron.parse(text, kind)
    _check_connection(connection)
    hierarchy, call = calls.open_function("schedule", root, dry_run)
    recorded = catalog.recorded(root)
    schedules = plan.schedules(given, recorded)
    parsed = {kind: cron.parse(text, kind) for kind, text in schedules.items()}
    connection = plan.kept(connection, [each.connection for each in recorded])
    cron_connection = _cron_connection(cron_connection, recorded)
    found = catalog.find(hierarchy.root.owner, cron_connection)
    for kind, each in parsed.items():
        if (each.seconds is not None or each.on_last_day) and not found.knows_seconds:
            raise errors.InvalidParameter.of(
                kind, schedules[kind], f"pg_cron {'.'.join(map(str, found.version))} knows the five fields only."
            )
    options = _options(hierarchy, schedules, connection)
    wanted = plan.jobs(hierarchy, found.database, schedules, options)
    return _make(hierarchy, call, found, wanted, cron_connection, connection)


def _check_connection(connection: str | None) -> None:
    if connection is not None and plan.holds_secret(connection):
        raise errors.InvalidParameter.of(
            "connection",
            "...",
            "It may hold a password, and stands in the command of jobs, and in dp.job_config, for others to read.",
            "Name a foreign server of dblink_fdw, whose user mapping holds the password; or keep that in a file"
            " (passfile=...) or in pg_hba.conf.",
        )


def _cron_connection(given: str | None, recorded: list[plan.Recorded]) -> str | None:
    """How pg_cron is reached: as before, unless it is said, or pg_cron is in this database by now."""
    if given is None and catalog.is_here():
        return None
    return plan.kept(given, [each.cron_connection for each in recorded if each.is_elsewhere])


def _options(hierarchy: Hierarchy, schedules: dict[str, str], connection: str | None) -> plan.Options:
    """How commands are made; a job that could not work is left out, and that is said."""
    if plan.PREWARM in schedules and catalog_cache.facility("pg_prewarm") is None:
        del schedules[plan.PREWARM]
        database.notice(
            "extension pg_prewarm is not installed in this database: no job for prewarm; once it is, call with"
            f" prewarm => '{plan.DEFAULTS[plan.PREWARM]}'"
        )
    vacuums_itself = catalog.has_second_session(hierarchy.root.owner, connection)
    if plan.CLUSTER in schedules and not vacuums_itself and plan.VACUUM not in schedules:
        database.notice(
            "dp.cluster has no second session (extension dblink, and the parameter connection): it orders leaves"
            " without VACUUM; schedule vacuum, too, or leave that to autovacuum"
        )
    only = catalog_server.server().version >= ANALYZE_ONLY_SINCE
    return plan.Options(connection, vacuums_itself, only)


def unschedule(root: int, cron_connection: str | None, dry_run: bool) -> list[PlanRow]:
    """Take the jobs out of pg_cron; see sql/functions/unschedule.sql.j2."""
    hierarchy, call = calls.open_function("unschedule", root, dry_run)
    recorded = catalog.recorded(root)
    if not recorded:
        return calls.nothing_to_do(f"{hierarchy.root.identifier} has no jobs")
    if cron_connection is None and not catalog.is_here() and not any(each.is_elsewhere for each in recorded):
        operations = plan.operations(hierarchy.root.identifier, [], {}, recorded, None, None, None)  # gone with pg_cron
        return calls.run_in_function([Step(tuple(operations))], call)
    found = catalog.find(hierarchy.root.owner, _cron_connection(cron_connection, recorded))
    return _make(hierarchy, call, found, [], None, None)


def _make(
    hierarchy: Hierarchy,
    call: Context,
    found: Cron,
    wanted: list[plan.Job],
    cron_connection: str | None,
    connection: str | None,
) -> list[PlanRow]:
    recorded = catalog.recorded(hierarchy.root.oid)
    names = {job.name for job in wanted} | {each.name for each in recorded}
    there = {name: (job.schedule, job.command) for name, job in catalog.own_jobs(found, sorted(names)).items()}
    storable = None if cron_connection is not None and plan.holds_secret(cron_connection) else cron_connection
    operations = plan.operations(
        hierarchy.root.identifier, wanted, there, recorded, found.elsewhere, storable, connection
    )
    if not operations:
        return calls.nothing_to_do(f"{hierarchy.root.identifier} has these jobs already")
    return calls.run_in_function([Step(tuple(operations))], call)


class JobRow(NamedTuple):
    """One row of dp.job."""

    root: int
    kind: str
    name: str
    schedule: str
    command: str | None
    is_scheduled: bool | None
    is_active: bool | None
    last_run: str | None
    duration: str | None
    status: str | None
    message: str | None
    next_run: str | None
    last_success: str | None
    is_late: bool | None


def job() -> list[JobRow]:
    """The jobs of all hierarchies; see sql/functions/job.sql.j2."""
    rows = database.query(
        "SELECT DISTINCT j.root::oid AS root, c.relowner::regrole::text AS quoted, pg_get_userbyid(c.relowner) AS owner"
        " FROM dp.job_config j JOIN pg_class c ON c.oid = j.root ORDER BY 1"
    )
    return [found for row in rows for found in _jobs_of(row["root"], row["owner"])[0]]


def _jobs_of(root: int, owner: str) -> tuple[list[JobRow], str | None]:
    """The jobs of a hierarchy; and why pg_cron does not show them to who should see them."""
    since = catalog.recorded_since(root)
    recorded = [each for each, _ in since]
    facts = catalog_server.server()
    may_see = facts.is_superuser or facts.user == owner
    found: dict[str, FoundJob] = {}
    why = unseen = None
    try:
        with database.subtransaction():
            found = catalog.jobs(
                catalog.find(owner, _cron_connection(None, recorded)), [each.name for each in recorded]
            )
    except (errors.PartitionError, database.ServerError) as error:
        if database.is_cancel(error):
            raise
        detail = error.detail if isinstance(error, errors.NoSecondSession) else None
        why = " ".join([calls.describe(error), *(detail or "").split()])
        # a superuser's own session cannot be the owner's in another database
        unseen = (
            why if may_see and (facts.user == owner or not isinstance(error, errors.InsufficientPrivilege)) else None
        )
        may_see = False
    return [_row(root, each, found.get(each.name), may_see, why, made) for each, made in since], unseen


def _row(root: int, each: plan.Recorded, job: FoundJob | None, may_see: bool, why: str | None, made: str) -> JobRow:
    if job is None:
        is_scheduled = False if may_see else None
        status = None if may_see else UNKNOWN
        is_late = True if may_see else None  # what pg_cron has no more never comes
        recorded = (root, each.kind, each.name, each.schedule, None, is_scheduled)
        return JobRow(*recorded, None, None, None, status, why, None, None, is_late)
    return JobRow(
        root,
        each.kind,
        each.name,
        job.schedule,
        job.command,
        True,
        job.is_active,
        job.started,
        job.duration,
        job.status,
        job.message,
        _next_run(job.schedule) if job.is_active else None,
        job.succeeded,
        _is_late(job.schedule, job.succeeded, made),
    )


def states(root: int, owner: str) -> plan.Jobs:
    """The jobs of a hierarchy that the caller may see."""
    if not catalog.recorded(root):
        return plan.Jobs((), None)
    rows, unseen = _jobs_of(root, owner)
    seen = tuple(
        plan.JobState(
            each.kind,
            each.name,
            each.schedule,
            each.is_scheduled,
            each.status,
            each.message,
            each.last_success,
            bool(each.is_late),
        )
        for each in rows
        if each.is_scheduled is not None
    )
    return plan.Jobs(seen, unseen)


def _parsed(text: str) -> cron.Schedule | None:
    """A schedule; somebody may have given the job one that only pg_cron understands."""
    try:
        return cron.parse(text, "schedule")
    except errors.InvalidParameter:
        return None


def _moment(at: str | None, zone: str) -> datetime.datetime:
    """A moment, or now, in the time zone of pg_cron."""
    query = "SELECT (coalesce($1::timestamptz, clock_timestamp()) AT TIME ZONE $2)::timestamp(0)::text AS at"
    return datetime.datetime.fromisoformat(database.query(query, ("text", "text"), (at, zone))[0]["at"])


def _is_late(text: str, succeeded: str | None, made: str) -> bool:
    """Whether a job has missed some runs since it last succeeded, or was made; those at each start are never late."""
    parsed, zone = _parsed(text), catalog.time_zone()
    if parsed is None or parsed.at_reboot:
        return False
    since = _moment(made, zone)
    if succeeded is not None:
        since = max(since, _moment(succeeded, zone))
    following: datetime.datetime | None = since
    for _ in range(MISSED_RUNS):
        following = cron.next_run(parsed, following) if following is not None else None
    return following is not None and max(following, since + SHORTEST_DELAY) < _moment(None, zone)


def _next_run(text: str) -> str | None:
    """When pg_cron runs a job next."""
    parsed, zone = _parsed(text), catalog.time_zone()
    following = cron.next_run(parsed, _moment(None, zone)) if parsed is not None else None
    if following is None:
        return None
    query = "SELECT ($1::timestamp AT TIME ZONE $2)::text AS at"
    return str(database.query(query, ("text", "text"), (following.isoformat(sep=" "), zone))[0]["at"])
