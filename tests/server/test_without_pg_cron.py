"""The lines that the documentation gives to servers without pg_cron do what its jobs do, and fail as visibly."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.support.database import Database
from tests.support.hierarchies import declare, names
from tests.support.server import ProgramError

PAGE = Path(__file__).parents[2] / "doc" / "operations.md"


def documented(beginning: str) -> list[str]:
    """The arguments of psql in the line of the page that begins so."""
    line = re.search(rf"{re.escape(beginning)}(.*?psql [^`\n]*)", PAGE.read_text())
    assert line is not None
    words = shlex.split(line[1])
    return words[words.index(next(word for word in words if word.endswith("psql"))) + 1 :]


def run(db: Database, arguments: list[str], statement: str = "") -> str:
    """Run psql as documented, in the database of the test."""
    given = list(arguments)
    given[given.index("-d") + 1] = db.server.inner_dsn(db.name, "owner")
    if statement:
        given[given.index("-c") + 1] = statement
    return db.server.run("psql", *given)


@pytest.mark.parametrize("beginning", ["17 * * * * ", "`ExecStart="])
def test_maintenance_by_a_crontab_or_a_timer(db: Database, beginning: str) -> None:
    owner = db.connect()
    declare(owner, premake=1)
    line = documented(beginning)
    run(db, line)
    assert len(names(owner)) == 2
    with pytest.raises(ProgramError, match="hierarchy"):
        run(db, line, "CALL dp.run_maintenance('pg_class')")


def test_prewarming_by_what_starts_the_server(db: Database) -> None:
    with db.server.connect(db.name) as admin:
        admin.execute("CREATE EXTENSION pg_prewarm")
    owner = db.connect()
    declare(owner, premake=0)
    owner.execute("ALTER TABLE event RENAME TO dialog")
    owner.execute("CALL dp.run_maintenance('dialog')")
    owner.execute("INSERT INTO dialog (id, at, party) VALUES (1, now(), 'p')")
    assert int(run(db, [*documented("\nExecStart="), "-t"]).strip()) > 0
