"""What somebody gave a generated function is kept when it is written anew for new slices, or for another name."""

from __future__ import annotations

from typing import Any

from tests.support import family
from tests.support.database import Database

ROOT = "'\"Dialog\"'"
CONFIGURED = """
    SELECT proname, prosrc,
           proconfig @> ARRAY['work_mem=64MB', 'temp_tablespaces=pg_default, pg_default']
           AND NOT 'jit=on' = ANY (proconfig) AS is_kept,
           EXISTS (SELECT FROM unnest(proconfig) AS s WHERE s ~ '^(log|app)') AS is_logged,
           has_function_privilege('reader', p.oid, 'EXECUTE') AS may_call,
           has_function_privilege('stranger', p.oid, 'EXECUTE') AS may_stranger,
           obj_description(p.oid, 'pg_proc') AS comment
    FROM pg_proc AS p WHERE proretset AND pronamespace = 'public'::regnamespace ORDER BY proname
"""


def declare(db: Database) -> list[str]:
    owner = db.connect(**{"dp.now": "2025-06-15 00:00+00"})
    family.declare(owner, "slice")
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-01-01', '2025-03-01')")
    owner.execute(f"SELECT dp.create_global_index({ROOT}, '{{Id}}')")
    owner.execute(
        f"SELECT dp.create_page({ROOT}, 'newest_of', 'who text', 't.\"Party\" = who', 't.\"UpdatedAt\" DESC')"
    )
    query = 'SELECT d."Id" FROM "Dialog" AS d WHERE d."Id" = ANY (ids) AND dp.has_keys(d)'
    owner.execute(f"SELECT dp.create_joined_lookup({ROOT}, 'joined', %s, 'dialog bigint')", [query])
    return [
        row["name"]
        for row in db.rows(
            "SELECT oid::regprocedure::text AS name FROM pg_proc WHERE proretset"
            " AND pronamespace = 'public'::regnamespace"
        )
    ]


def told(db: Database) -> list[dict[str, Any]]:
    return db.rows(CONFIGURED)


def test_settings_grants_and_comments_stay(db: Database) -> None:
    functions = declare(db)
    assert len(functions) == 5
    owner, admin = db.connect(**{"dp.now": "2025-06-15 00:00+00"}), db.connect("postgres")
    for each in functions:
        owner.execute(f"ALTER FUNCTION {each} SET work_mem = '64MB'")  # type: ignore[call-overload]
        owner.execute(f"ALTER FUNCTION {each} SET jit = on")  # type: ignore[call-overload]
        owner.execute(f"ALTER FUNCTION {each} SET temp_tablespaces = pg_default, pg_default")  # type: ignore[call-overload]
        admin.execute(f"ALTER FUNCTION {each} SET log_min_duration_statement = 0 SET app.tenant = 'a b'")  # type: ignore[call-overload]
        owner.execute(f"REVOKE EXECUTE ON FUNCTION {each} FROM PUBLIC")  # type: ignore[call-overload]
        owner.execute(f"GRANT EXECUTE ON FUNCTION {each} TO reader")  # type: ignore[call-overload]
    owner.execute("COMMENT ON FUNCTION newest_of IS 'for the front page'")
    before = told(db)
    assert [each["is_logged"] for each in before] == [True] * 5
    warnings: list[str] = []
    owner.add_notice_handler(lambda notice: warnings.append(str(notice.message_primary)))
    owner.execute(f"CALL dp.create_slices({ROOT}, '2025-03-01', '2025-05-01')")
    assert (
        sum("loses what a superuser has set for it: log_min_duration_statement, app.tenant" in w for w in warnings) == 5
    )
    after = told(db)
    assert [new["prosrc"] != old["prosrc"] for new, old in zip(after, before)] == [True] * 5, "they know the slices"
    assert [each["is_kept"] for each in after] == [True] * 5, "its own settings are what they were"
    assert [each["is_logged"] for each in after] == [False] * 5, "which its owner could not give it"
    for new, old in zip(after, before):
        assert [new[each] for each in ("may_call", "may_stranger", "comment")] == [True, False, old["comment"]]
    owner.execute('ALTER TABLE "Dialog" RENAME TO "Case"')
    renamed = told(db)
    assert {each["proname"] for each in renamed} == {
        *("Case_by_Id", "newest_of", "joined", "Activity_by_DialogId", "Actor_by_DialogId")
    }
    assert [each["is_kept"] for each in renamed] == [True] * 5
    for each in ("SELECT * FROM newest_of('p', '2025-06-30', 9)", "SELECT * FROM \"Case_by_Id\"('{1}')"):
        owner.execute(each)  # type: ignore[call-overload]
