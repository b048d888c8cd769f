"""What a reader of one party's newest dialogs reads, of rows that came in random order: before and after dp.cluster.

And how long others wait while a leaf is ordered. Where the server has pg_squeeze, both for that, too.
"""

from __future__ import annotations

import json
import threading
import time

from bench.report import Result
from bench.support import Bench, Connection, milliseconds, session, value
from tests.support.database import Database, with_dblink, with_squeeze
from tests.support.server import has_squeeze

DIALOGS, PARTIES, CONTENTS, ACTORS, NEWEST = 24_000, 60, 3, 4, 50
RANDOM, ORDERED = "md5(id::text)", "party, at DESC"

TABLES = """
    CREATE TABLE dialog (id bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL, title text);
    CREATE TABLE content (id bigint PRIMARY KEY, dialog_id bigint NOT NULL REFERENCES dialog, body text);
    CREATE TABLE actor (id bigint PRIMARY KEY, dialog_id bigint NOT NULL REFERENCES dialog, name text);
    SELECT dp.create_hierarchy('dialog', 'at', 'party', hash_partitions => 4, premake => 0);
    SELECT dp.register_child('content', 'dialog');
    SELECT dp.register_child('actor', 'dialog');
    CALL dp.create_slices('dialog', '2025-01-01', '2025-04-01');
    CREATE INDEX ON dialog (party, at DESC);
    CREATE INDEX ON content (party, dialog_id);
    CREATE INDEX ON actor (party, dialog_id);
"""
DIALOG = """
    INSERT INTO dialog (id, at, party, title)
    SELECT id, at, party, repeat('t', 200) FROM (
        SELECT n AS id, '2025-01-01 00:00+00'::timestamptz + n * interval '5 minutes' AS at,
               'party ' || abs(hashint4(n)) % {parties} AS party FROM generate_series(1, {dialogs}) AS n) AS made
    ORDER BY {order}
"""
CHILD = """
    INSERT INTO {table} (id, dialog_id, at, party, {column})
    SELECT id, dialog_id, at, party, repeat('x', 150) FROM (
        SELECT d.id * 10 + m AS id, d.id AS dialog_id, at, party
        FROM dialog AS d, generate_series(1, {children}) AS m) AS made
    ORDER BY {order}
"""
READ = """
    WITH newest AS MATERIALIZED (SELECT id, at, party, title FROM dialog WHERE party = 'party 7'
                                 ORDER BY at DESC LIMIT {newest})
    SELECT n.id, n.title, c.body, a.name FROM newest AS n
    CROSS JOIN LATERAL (SELECT string_agg(body, '') AS body FROM content AS c
                        WHERE c.dialog_id = n.id AND c.at = n.at AND c.party = n.party) AS c
    CROSS JOIN LATERAL (SELECT string_agg(name, '') AS name FROM actor AS a
                        WHERE a.dialog_id = n.id AND a.at = n.at AND a.party = n.party) AS a
"""
# The pages of rows that the reader meets, each once: what he has to have in the cache.
PAGES = """
    WITH newest AS MATERIALIZED (SELECT tableoid, ctid, id, at, party FROM dialog WHERE party = 'party 7'
                                 ORDER BY at DESC LIMIT {newest}),
    met AS (
        SELECT tableoid, ctid FROM newest
        UNION ALL SELECT c.tableoid, c.ctid FROM content AS c JOIN newest AS n ON c.dialog_id = n.id
            AND c.at = n.at AND c.party = n.party
        UNION ALL SELECT a.tableoid, a.ctid FROM actor AS a JOIN newest AS n ON a.dialog_id = n.id
            AND a.at = n.at AND a.party = n.party)
    SELECT count(DISTINCT (tableoid, (ctid::text::point)[0])) FROM met
"""


def load(connection: Connection, is_random: bool) -> None:
    """A hierarchy of three months, its rows in random order or in the best."""
    for statement in TABLES.split(";")[:-1]:
        connection.execute(statement)  # type: ignore[call-overload]
    order = RANDOM if is_random else ORDERED
    connection.execute(DIALOG.format(parties=PARTIES, dialogs=DIALOGS, order=order))  # type: ignore[call-overload]
    for table, column, children in (("content", "body", CONTENTS), ("actor", "name", ACTORS)):
        text = CHILD.format(
            table=table, column=column, children=children, order=RANDOM if is_random else "party, dialog_id"
        )
        connection.execute(text)  # type: ignore[call-overload]
    for table in ("dialog", "content", "actor"):
        connection.execute(f"VACUUM ANALYZE {table}")  # type: ignore[call-overload]


def buffers(connection: Connection) -> int:
    """How often the reader's query asks for a page, index pages included."""
    query = READ.format(newest=NEWEST)
    connection.execute(query)  # type: ignore[call-overload]  # the catalog is in the session's cache from here on
    found = value(connection, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {query}")
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def look(connection: Connection) -> tuple[int, int]:
    """Distinct pages of rows, and accesses of pages."""
    return int(value(connection, PAGES.format(newest=NEWEST))), buffers(connection)


LARGE_ROWS, LOCK_TIMEOUT_MS = 150_000, 500
LARGE = """
    CREATE TABLE wide (id bigint PRIMARY KEY, at timestamptz NOT NULL, party text NOT NULL, title text);
    SELECT dp.create_hierarchy('wide', 'at', 'party', hash_partitions => 1, premake => 0);
    CALL dp.create_slices('wide', '2025-01-01', '2025-02-01');
    CREATE INDEX ON wide (party, at DESC);
    INSERT INTO wide (id, at, party, title) SELECT n, '2025-01-01 00:00+00'::timestamptz + n * interval '5 seconds',
        'party ' || n % 60, repeat('t', 100) FROM generate_series(1, {rows}) AS n ORDER BY md5(n::text);
    VACUUM ANALYZE wide
"""
OTHERS = (
    "SELECT count(*) FROM wide WHERE party = 'party 7' AND at < '2025-01-02'",
    "UPDATE wide SET title = 'changed' WHERE id = 7777 AND party = 'party 37' AND at ="
    " '2025-01-01 00:00+00'::timestamptz + 7777 * interval '5 seconds'",
)


def methods(bench: Bench) -> list[str]:
    """Those that this server has."""
    return ["cluster", "pg_squeeze"] if has_squeeze(bench.server.version) else ["cluster"]


def make_ready(database: Database, method: str) -> str:
    """What an administrator does for a method, once; and how the second session connects."""
    if method == "pg_squeeze":
        with_squeeze(database)
    return with_dblink(database)


def waits(bench: Bench, method: str) -> tuple[float, float]:
    """The longest wait of a reader and a writer of a leaf while it is ordered, and how long that lasts, in ms."""
    with bench.database() as database:
        connection = session(database)
        for statement in LARGE.format(rows=LARGE_ROWS).split(";"):
            connection.execute(statement)  # type: ignore[call-overload]
        connects = make_ready(database, method)
        longest = dict.fromkeys(OTHERS, 0.0)
        stop = threading.Event()

        def repeat(text: str) -> None:
            with database.server.connect(database.name, "owner") as other:
                other.execute(text)  # type: ignore[call-overload]  # the first reads the catalog
                while not stop.is_set():
                    longest[text] = max(longest[text], milliseconds(lambda: other.execute(text)))  # type: ignore[call-overload]
                    time.sleep(0.002)

        threads = [threading.Thread(target=repeat, args=(text,)) for text in OTHERS]
        for thread in threads:
            thread.start()
        call = f"CALL dp.cluster('wide', scope => 'all', method => '{method}', connection => '{connects}')"
        lasted = milliseconds(lambda: connection.execute(call))  # type: ignore[call-overload]
        stop.set()
        for thread in threads:
            thread.join()
        return max(longest.values()), lasted


def after(bench: Bench, method: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """What is read of rows in random order, and what when they are ordered."""
    with bench.database() as database:
        connection = session(database)
        load(connection, is_random=True)
        before = look(connection)
        connects = make_ready(database, method)
        connection.execute(
            f"CALL dp.cluster('dialog', scope => 'all', method => '{method}', connection => '{connects}')"  # type: ignore[call-overload]
        )
        return before, look(connection)


def measure(bench: Bench) -> list[Result]:
    """The same rows twice: in random order, and in the best order from the beginning, which is the least possible."""
    with bench.database() as database:
        connection = session(database)
        load(connection, is_random=False)
        least = look(connection)
    ordered = {method: after(bench, method) for method in methods(bench)}
    found = []
    for place, what in enumerate(("pages of rows", "accesses of pages")):
        about = f"a party's newest {NEWEST} dialogs, {what}"
        before = ordered["cluster"][0][place]
        found.append(Result("cluster", f"{about}, random order", before, "", "least possible", least[place]))
        for method, (_, pages) in ordered.items():
            told = f"{about}, after dp.cluster by {method}"
            found.append(Result("cluster", told, pages[place], "", "least possible", least[place], 1.3))
    for method in methods(bench):
        longest, lasted = waits(bench, method)
        about = f"longest wait of others, a leaf of {LARGE_ROWS} rows ordered by {method}"
        # beside what others wait, how busy the machine is: one lock_timeout of grace
        goal = 3.0 if method == "pg_squeeze" else None
        found.append(Result("cluster", about, longest, "ms", "lock_timeout", LOCK_TIMEOUT_MS, goal))
        found.append(Result("cluster", f"a leaf of {LARGE_ROWS} rows ordered by {method}, in all", lasted, "ms"))
    return found
