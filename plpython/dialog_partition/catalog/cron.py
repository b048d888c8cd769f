"""Reading pg_cron, in this database or another one of the cluster: where it is, what it allows, its jobs."""

from __future__ import annotations

from typing import NamedTuple

from .. import database, errors, reach, remote
from ..plan.schedule import CONNECTION, Elsewhere, Recorded
from ..sql import SQL, Identifier, Literal, compose

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..database import Row

LOCK_TIMEOUT = "2s"  # in the other database
USUAL_DATABASE = "postgres"  # the default of cron.database_name, which not everybody may read

_FACTS = """
    SELECT r.rolcanlogin AS can_login, current_user AS caller, current_database() AS database,
           current_setting('port') AS port, $1 AS owner,
           (SELECT setting FROM pg_settings WHERE name = 'unix_socket_directories') AS sockets,
           (SELECT setting FROM pg_settings WHERE name = 'cron.database_name') AS cron_database,
           EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') AS is_here,
           n.nspname AS dblink, NOT c.rolsuper AND has_function_privilege(p.oid, 'EXECUTE') AS may_skip_password
    FROM pg_roles r
    JOIN pg_roles c ON c.rolname = current_user
    LEFT JOIN pg_extension e ON e.extname = 'dblink'
    LEFT JOIN pg_namespace n ON n.oid = e.extnamespace
    LEFT JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = 'dblink_connect_u' AND p.pronargs = 2
    WHERE r.rolname = $1
"""

_ALLOWED = SQL(
    "SELECT e.extversion::text AS version, current_database()::text AS database, n.oid IS NOT NULL AND"
    " has_schema_privilege({role}, n.oid, 'USAGE') AS may_use,"
    " (SELECT bool_or(has_function_privilege({role}, p.oid, 'EXECUTE')) FROM pg_proc p WHERE p.pronamespace = n.oid"
    " AND p.proname = 'schedule_in_database') AS may_elsewhere"
    " FROM (SELECT) AS one LEFT JOIN pg_extension e ON e.extname = 'pg_cron'"
    " LEFT JOIN pg_namespace n ON n.nspname = 'cron' AND e.oid IS NOT NULL"
)

_JOBS = SQL(
    "SELECT j.jobname::text AS name, j.schedule, j.command, j.active, d.status, d.return_message AS message,"
    " d.start_time::text AS started, (d.end_time - d.start_time)::text AS duration,"
    " (SELECT r.end_time FROM cron.job_run_details r WHERE r.jobid = j.jobid AND r.status = 'succeeded'"
    " ORDER BY r.runid DESC LIMIT 1)::text AS succeeded"
    " FROM cron.job j LEFT JOIN LATERAL (SELECT r.* FROM cron.job_run_details r WHERE r.jobid = j.jobid"
    " ORDER BY r.runid DESC LIMIT 1) AS d ON true"
    " WHERE j.database = {database} AND j.username = {owner} AND j.jobname::text = ANY ({names}::text[])"
)
_JOB_COLUMNS = (
    "name text, schedule text, command text, active boolean, status text, message text, started text, duration text,"
    " succeeded text"
)


class Cron(NamedTuple):
    """Where pg_cron is."""

    version: tuple[int, ...]
    owner: str
    database: str  # where the jobs run: this one
    elsewhere: Elsewhere | None  # None: pg_cron is in this database, too

    @property
    def knows_seconds(self) -> bool:
        """Whether jobs may run every so many seconds."""
        return self.version >= (1, 5)


class FoundJob(NamedTuple):
    """A job that pg_cron has, and its last run."""

    schedule: str
    command: str
    is_active: bool
    status: str | None
    message: str | None
    started: str | None
    duration: str | None
    succeeded: str | None  # when a run last ended well


def find(owner: str, connection: str | None) -> Cron:
    """Where pg_cron is, and that the owner can have jobs there; else an error that says exactly what is missing."""
    facts = database.query(_FACTS, ("text",), (owner,))[0]
    if not facts["can_login"]:
        raise errors.NotInPrerequisiteState(
            f"role {owner} cannot log in, and pg_cron runs jobs in sessions of the role that they belong to",
            "Jobs of a hierarchy are those of its owner.",
            f"ALTER ROLE {Identifier(owner)} LOGIN; or let another role own the tables.",
        )
    if facts["is_here"] and connection is None:
        allowed = database.query_once(compose(_ALLOWED.text, role=Literal(owner)).text)[0]
        _check(allowed, owner, is_elsewhere=False)
        return Cron(_version(allowed["version"]), owner, facts["database"], None)
    elsewhere = _elsewhere(facts, connection)
    silence = reach.silence(_connection_options(elsewhere.connection))
    if silence is not None:
        raise _unreachable(facts, f"{silence}.")
    try:
        _open(elsewhere)
        text = compose(_ALLOWED.text, role=SQL("current_user"))
        columns = "version text, database text, may_use boolean, may_elsewhere boolean"
        allowed = _ask(elsewhere, text, columns)[0]
    except database.ServerError as error:
        if database.is_cancel(error):
            raise
        raise _unreachable(facts, database.describe_fully(error)) from None
    finally:
        _close(elsewhere)
    _check(allowed, owner, is_elsewhere=True)
    return Cron(_version(allowed["version"]), owner, facts["database"], elsewhere)


def _connection_options(connection: str) -> dict[str, str]:
    """What a connection says: keywords, or the name of a foreign server."""
    if "=" in connection:
        return reach.keywords(connection)
    query = "SELECT o.option_name, o.option_value FROM pg_foreign_server s, pg_options_to_table(s.srvoptions) AS o"
    rows = database.query(f"{query} WHERE s.srvname = $1", ("text",), (connection,))
    return {row["option_name"]: row["option_value"] for row in rows}


def _unreachable(facts: Row, detail: str) -> errors.NoSecondSession:
    return errors.NoSecondSession(
        f"pg_cron is not installed in this database, and {facts['cron_database'] or USUAL_DATABASE} of this"
        " cluster, where it may be, cannot be reached",
        detail,
        "Give cron_connection: a foreign server of dblink_fdw with a user mapping, or keywords such as"
        " 'dbname=postgres password=...'. Where pg_cron is nowhere in the cluster: add it to"
        " shared_preload_libraries, restart, and CREATE EXTENSION pg_cron in the database that"
        " cron.database_name names.",
    )


def is_here() -> bool:
    """Whether pg_cron is installed in this database."""
    return bool(database.query("SELECT 1 FROM pg_extension WHERE extname = 'pg_cron'"))


def _elsewhere(facts: Row, connection: str | None) -> Elsewhere:
    there = facts["cron_database"] or USUAL_DATABASE
    if facts["dblink"] is None:
        raise errors.NoSecondSession(
            "pg_cron is not installed in this database, and extension dblink, by which another one is reached, neither",
            f"pg_cron is in one database of a cluster, here presumably in {there}, and runs jobs in all of them.",
            f"A superuser runs CREATE EXTENSION dblink in this database; and CREATE EXTENSION pg_cron in {there}, if"
            " that has not been done.",
        )
    if facts["owner"] != facts["caller"]:
        raise errors.InsufficientPrivilege(
            f"the jobs would not be those of {facts['owner']}",
            "pg_cron is in another database, where jobs belong to the role that connects.",
            f"Call in a session of {facts['owner']}.",
        )
    text = remote.connection_string({**facts, "database": there}, connection)
    connect = "dblink_connect_u" if facts["may_skip_password"] else "dblink_connect"
    return Elsewhere(facts["dblink"], connect, text, facts["database"])


def _check(allowed: Row, owner: str, is_elsewhere: bool) -> None:
    there = allowed["database"]
    if allowed["version"] is None:
        raise errors.NotInPrerequisiteState(
            f"extension pg_cron is not installed in database {there}",
            "It is in the one database that cron.database_name names, if the server has it.",
            f"A superuser adds pg_cron to shared_preload_libraries, restarts, and runs CREATE EXTENSION pg_cron in"
            f" {there}; or give cron_connection, with the dbname where it is.",
        )
    if not allowed["may_use"]:
        raise errors.InsufficientPrivilege(
            f"role {owner} may not use pg_cron",
            f"It has no USAGE on schema cron in database {there}.",
            f"A superuser runs there: GRANT USAGE ON SCHEMA cron TO {Identifier(owner)};",
        )
    if is_elsewhere and not allowed["may_elsewhere"]:
        raise errors.InsufficientPrivilege(
            f"role {owner} may not have jobs run in another database",
            f"It has no EXECUTE on cron.schedule_in_database in database {there}.",
            "A superuser runs there: GRANT EXECUTE ON FUNCTION cron.schedule_in_database(text, text, text, text, text,"
            f" boolean) TO {Identifier(owner)};",
        )


def _version(text: str) -> tuple[int, ...]:
    """1.4-1 is 1.4, too."""
    return tuple(int(part) for part in text.partition("-")[0].split(".") if part.isdigit())


def own_jobs(cron: Cron, names: list[str]) -> dict[str, FoundJob]:
    """The owner's jobs of some names, which a member of the owner sees only as the owner."""
    saved = database.setting("role") or "none"
    database.set_local("role", cron.owner)
    found = jobs(cron, names)
    database.set_local("role", saved)
    return found


def jobs(cron: Cron, names: list[str]) -> dict[str, FoundJob]:
    """The owner's jobs of some names, as far as the caller may see them."""
    array = Literal("{" + ",".join(_element(name) for name in names) + "}")
    text = compose(_JOBS.text, database=Literal(cron.database), owner=Literal(cron.owner), names=array)
    if cron.elsewhere is None:
        rows = database.query_once(text.text)
    else:
        try:
            _open(cron.elsewhere)
            rows = _ask(cron.elsewhere, text, _JOB_COLUMNS)
        finally:
            _close(cron.elsewhere)
    return {
        row["name"]: FoundJob(
            row["schedule"],
            row["command"],
            row["active"],
            row["status"],
            row["message"],
            row["started"],
            row["duration"],
            row["succeeded"],
        )
        for row in rows
    }


def _element(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _open(elsewhere: Elsewhere) -> None:
    _close(elsewhere)
    text = compose(
        "SELECT {}({}, {})",
        Identifier(elsewhere.schema, elsewhere.connect),
        Literal(CONNECTION),
        Literal(elsewhere.connection),
    )
    patience = compose(
        "SELECT {}({}, {})",
        Identifier(elsewhere.schema, "dblink_exec"),
        Literal(CONNECTION),
        Literal(f"SET lock_timeout = '{LOCK_TIMEOUT}'"),
    )
    with database.subtransaction():
        database.query_once(text.text)
        database.query_once(patience.text)


def _ask(elsewhere: Elsewhere, statement: SQL, columns: str) -> list[Row]:
    text = compose(
        "SELECT * FROM {}({}, {}) AS answer ({})",
        Identifier(elsewhere.schema, "dblink"),
        Literal(CONNECTION),
        Literal(statement.text),
        SQL(columns),
    )
    with database.subtransaction():
        return database.query_once(text.text)


def _close(elsewhere: Elsewhere) -> None:
    """End the connection; one that a failed call left behind, too."""
    text = compose(
        "SELECT {}(name) FROM unnest({}()) AS open (name) WHERE name = {}",
        Identifier(elsewhere.schema, "dblink_disconnect"),
        Identifier(elsewhere.schema, "dblink_get_connections"),
        Literal(CONNECTION),
    )
    database.query_once(text.text)


def recorded(root: int) -> list[Recorded]:
    """What dp.job_config knows of the jobs of a hierarchy."""
    return [each for each, _ in recorded_since(root)]


def recorded_since(root: int) -> list[tuple[Recorded, str]]:
    """The same, each with the moment at which the job became what it is."""
    rows = database.query(
        "SELECT kind, name, schedule, is_elsewhere, cron_connection, connection, made_at::text AS made_at"
        " FROM dp.job_config WHERE root = $1 ORDER BY kind",
        ("oid",),
        (root,),
    )
    return [(Recorded(**{name: row[name] for name in Recorded._fields}), row["made_at"]) for row in rows]


def has_second_session(owner: str, connection: str | None) -> bool:
    """Whether dblink is there, and the owner needs no password, or a connection was given."""
    rows = database.query(
        "SELECT bool_or($2 IS NOT NULL OR r.rolsuper OR has_function_privilege(r.oid, p.oid, 'EXECUTE')) AS possible"
        " FROM pg_extension e JOIN pg_proc p ON p.pronamespace = e.extnamespace AND p.proname = 'dblink_connect_u'"
        " CROSS JOIN pg_roles r WHERE e.extname = 'dblink' AND r.rolname = $1",
        ("text", "text"),
        (owner, connection),
    )
    return bool(rows[0]["possible"])


def time_zone() -> str:
    """The time zone of pg_cron, as far as the caller may know it."""
    rows = database.query("SELECT setting FROM pg_settings WHERE name = 'cron.timezone'")
    return str(rows[0]["setting"]) if rows and rows[0]["setting"] else "GMT"
