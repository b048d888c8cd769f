"""Jobs of a hierarchy in pg_cron: what they are called, what they run, and how they come to be what was asked for."""

from __future__ import annotations

from typing import NamedTuple

from .. import naming
from ..model import Hierarchy
from ..operation import ROW_EXCLUSIVE, Operation
from ..sql import SQL, Identifier, Literal, comma_list, compose

MAINTENANCE, CLUSTER, PREWARM, STATISTICS, VACUUM = "maintenance", "cluster", "prewarm", "statistics", "vacuum"
KINDS = (MAINTENANCE, CLUSTER, PREWARM, STATISTICS, VACUUM)
CONNECTION = "dp_cron"  # the name of the connection to the database of pg_cron
NONE = "none"  # instead of a schedule: no such job
DEFAULTS = {MAINTENANCE: "17 * * * *", CLUSTER: "20 2 * * *", PREWARM: "@reboot"}  # of a hierarchy without jobs
CLUSTER_BUDGET = "45 minutes"  # over before the next hour's maintenance, which would find the hierarchy in use


class Job(NamedTuple):
    """A job as it shall be."""

    kind: str
    name: str
    schedule: str
    command: str


class Recorded(NamedTuple):
    """A job as dp.job_config knows it."""

    kind: str
    name: str
    schedule: str
    is_elsewhere: bool
    cron_connection: str | None
    connection: str | None  # of second sessions


class JobState(NamedTuple):
    """How a job fares, for dp.check."""

    kind: str
    name: str
    schedule: str
    is_scheduled: bool
    status: str | None
    message: str | None
    last_success: str | None
    is_late: bool


class Jobs(NamedTuple):
    """The jobs of a hierarchy, as far as the caller may see them."""

    seen: tuple[JobState, ...]
    unseen: str | None  # why pg_cron does not show the caller's own


class Elsewhere(NamedTuple):
    """How a statement reaches pg_cron in another database: by extension dblink."""

    schema: str  # of dblink
    connect: str  # the function that connects
    connection: str
    database: str  # where the jobs shall run


class Options(NamedTuple):
    """What commands are made with."""

    connection: str | None  # of second sessions
    vacuums_itself: bool  # whether dp.cluster has a second session for VACUUM
    analyze_only: bool  # whether the server knows ANALYZE ONLY


def job_name(database: str, root: str, kind: str) -> str:
    """``dp mydb public.Dialog maintenance``: a cluster has one list of jobs for all its databases."""
    ending = f" {kind}"
    return naming.shorten(f"dp {database} {root}", naming.MAX_BYTES - len(ending)) + ending


def schedules(given: dict[str, str | None], recorded: list[Recorded]) -> dict[str, str]:
    """The schedules that jobs shall have, by kind: what is not given stays, and is the default where no jobs are."""
    present = {each.kind: each.schedule for each in recorded} if recorded else DEFAULTS
    wanted = {
        kind: " ".join((present.get(kind, NONE) if text is None else text).split()) for kind, text in given.items()
    }
    return {kind: text for kind, text in wanted.items() if text.lower() != NONE}


def kept(given: str | None, recorded: list[str | None]) -> str | None:
    """How to connect: as it is said; by default as before; not at all where that is empty."""
    if given is None:
        return next((each for each in recorded if each is not None), None)
    return given.strip() or None


def holds_secret(connection: str) -> bool:
    """Whether a connection may hold a password; what is stored of jobs everybody may read."""
    text = "".join(connection.lower().split())
    return "password=" in text or "://" in text


def jobs(hierarchy: Hierarchy, database: str, schedules: dict[str, str], options: Options) -> list[Job]:
    """The jobs that shall be there, by the schedules of their kinds."""
    root = f"{hierarchy.root.schema}.{hierarchy.root.name}"
    return [
        Job(kind, job_name(database, root, kind), schedules[kind], command(hierarchy, kind, options).text)
        for kind in KINDS
        if kind in schedules
    ]


def command(hierarchy: Hierarchy, kind: str, options: Options) -> SQL:
    """What a job runs: one statement, for pg_cron runs several in one transaction, and these commit or refuse one."""
    root = Literal(hierarchy.root.identifier.text)
    connection = SQL("")
    if options.connection is not None:
        connection = compose(", connection => {}", Literal(options.connection))
    if kind == MAINTENANCE:
        return compose("CALL dp.run_maintenance({}{})", root, connection)
    if kind == CLUSTER:
        vacuum = connection if options.vacuums_itself else SQL(", vacuum => false")
        return compose("CALL dp.cluster({}, time_budget => {}{})", root, Literal(CLUSTER_BUDGET), vacuum)
    if kind == PREWARM:
        return compose("SELECT count(*) FROM dp.prewarm({})", root)
    only = SQL("ONLY " if kind == STATISTICS and options.analyze_only else "")
    tables = comma_list([compose("{}{}", only, table.identifier) for table in hierarchy.tables])
    others = [table.identifier for table in hierarchy.references]
    everything = comma_list([tables, *(SQL(each.text) for each in others)])
    return compose("{} {}", SQL("ANALYZE" if kind == STATISTICS else "VACUUM (ANALYZE)"), everything)


def operations(
    root: Identifier,
    wanted: list[Job],
    found: dict[str, tuple[str, str]],
    recorded: list[Recorded],
    elsewhere: Elsewhere | None,
    cron_connection: str | None,
    connection: str | None,
) -> list[Operation]:
    """What makes the jobs what they shall be; ``found``: schedule and command of those that pg_cron has, by name."""
    names = {job.name for job in wanted}
    kinds = {job.kind for job in wanted}
    statements = [_unschedule(name, elsewhere) for name in found if name not in names]
    statements += [_schedule(job, elsewhere) for job in wanted if found.get(job.name) != (job.schedule, job.command)]
    if statements and elsewhere is not None:
        statements = [_connect(elsewhere), *statements, _call(elsewhere, "dblink_disconnect", Literal(CONNECTION))]
    known = {each.kind: each for each in recorded}
    for kind in known:
        if kind not in kinds:
            statements.append(
                compose(
                    "DELETE FROM dp.job_config WHERE root = {}::regclass AND kind = {}",
                    Literal(root.text),
                    Literal(kind),
                )
            )
    for job in wanted:
        record = Recorded(job.kind, job.name, job.schedule, elsewhere is not None, cron_connection, connection)
        if known.get(job.kind) != record:
            statements.append(_record(root, record))
    return [Operation(root, statement, ROW_EXCLUSIVE) for statement in statements]


def again(root: Identifier) -> SQL:
    """The call that makes the same jobs once more, by the names of now."""
    return compose("SELECT dp.schedule({})", Literal(root.text))


def _schedule(job: Job, elsewhere: Elsewhere | None) -> SQL:
    values = [Literal(job.name), Literal(job.schedule), Literal(job.command)]
    if elsewhere is None:
        return compose("SELECT cron.schedule({})", comma_list(values))
    values.append(Literal(elsewhere.database))
    return _there(compose("SELECT cron.schedule_in_database({})", comma_list(values)), elsewhere)


def _unschedule(name: str, elsewhere: Elsewhere | None) -> SQL:
    statement = compose("SELECT cron.unschedule({})", Literal(name))
    return statement if elsewhere is None else _there(statement, elsewhere)


def _there(statement: SQL, elsewhere: Elsewhere) -> SQL:
    """A statement that runs in the database of pg_cron."""
    function = Identifier(elsewhere.schema, "dblink")
    return compose(
        "SELECT result FROM {}({}, {}) AS answer (result text)", function, Literal(CONNECTION), Literal(statement.text)
    )


def _connect(elsewhere: Elsewhere) -> SQL:
    return compose(
        "SELECT {}({}, {})",
        Identifier(elsewhere.schema, elsewhere.connect),
        Literal(CONNECTION),
        Literal(elsewhere.connection),
    )


def _call(elsewhere: Elsewhere, function: str, argument: Literal) -> SQL:
    return compose("SELECT {}({})", Identifier(elsewhere.schema, function), argument)


def _record(root: Identifier, record: Recorded) -> SQL:
    return compose(
        "INSERT INTO dp.job_config (root, kind, name, schedule, is_elsewhere, cron_connection, connection)"
        " VALUES ({}::regclass, {}, {}, {}, {}, {}, {}) ON CONFLICT (root, kind) DO UPDATE SET name = excluded.name,"
        " schedule = excluded.schedule, is_elsewhere = excluded.is_elsewhere,"
        " cron_connection = excluded.cron_connection, connection = excluded.connection, made_at = excluded.made_at",
        Literal(root.text),
        Literal(record.kind),
        Literal(record.name),
        Literal(record.schedule),
        Literal(record.is_elsewhere),
        Literal(record.cron_connection),
        Literal(record.connection),
    )
