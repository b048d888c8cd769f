"""Migrations as their tools run them: Alembic, EF Core's idempotent script, psql; by functions and by plain DDL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config

from tests.support import catalogs, dialogporten
from tests.support.database import Database
from tests.support.dialogporten.changes import TEN_CHANGES
from tests.support.hierarchies import call

Connection = psycopg.Connection[Any]


def declare(db: Database, key_form: str = "slice") -> Connection:
    """The eight tables with six slices of two leaves."""
    owner = db.connect()
    owner.execute(dialogporten.schema())  # type: ignore[arg-type]
    for text in dialogporten.declaration(key_form, hash_partitions=2):
        owner.execute(text)  # type: ignore[call-overload]
    call(owner, "CALL dp.create_slices", dialogporten.ROOT, "2025-01-01", "2025-07-01")
    return owner


def drift(owner: Connection) -> list[tuple[Any, ...]]:
    return call(owner, "SELECT dp.drift", dialogporten.ROOT)


def new_slice(owner: Connection) -> None:
    call(owner, "CALL dp.create_slices", dialogporten.ROOT, "2025-07-01", "2025-08-01")


ENV = """
from alembic import context
context.configure(connection=context.config.attributes["connection"], target_metadata=None)
with context.begin_transaction():
    context.run_migrations()
"""
REVISION = """
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = {revision!r}, {down!r}, None, None
def upgrade():
{upgrade}
def downgrade():
{downgrade}
"""
# What the documentation recommends, and what Alembic's own operations generate.
REVISIONS = (
    (
        """
    op.execute("SELECT dp.add_column('\\"DialogContent\\"', 'Title', 'varchar(255)', comment => 'shown')")
    op.execute("SELECT dp.create_index('\\"DialogContent\\"', 'IX_DialogContent_Title', '(\\"Title\\")')")
    """,
        """
    op.execute("SELECT dp.drop_index('\\"DialogContent\\"', 'IX_DialogContent_Title')")
    op.execute("SELECT dp.drop_column('\\"DialogContent\\"', 'Title')")
    """,
    ),
    (
        """
    op.add_column("DialogActivity", sa.Column("Note", sa.String(100), nullable=False, server_default="-", comment="n"))
    op.create_index("IX_DialogActivity_Note", "DialogActivity", ["Note", "Id"])
    op.create_check_constraint("CK_DialogActivity_Note", "DialogActivity", "\\"Note\\" <> ''")
    op.create_table_comment("DialogActivity", "what happened")
    """,
        """
    op.drop_table_comment("DialogActivity", existing_comment="what happened")
    op.drop_constraint("CK_DialogActivity_Note", "DialogActivity", type_="check")
    op.drop_index("IX_DialogActivity_Note", "DialogActivity")
    op.drop_column("DialogActivity", "Note")
    """,
    ),
    (
        """
    op.alter_column("DialogActivity", "Note", new_column_name="Remark", existing_type=sa.String(100))
    op.alter_column("DialogActivity", "Remark", type_=sa.Text(), nullable=True, server_default=None)
    op.alter_column("DialogContent", "MediaType", comment="of the value", existing_type=sa.String(255))
    """,
        """
    op.alter_column("DialogContent", "MediaType", comment=None, existing_type=sa.String(255))
    op.alter_column("DialogActivity", "Remark", type_=sa.String(100), nullable=False, server_default="-")
    op.alter_column("DialogActivity", "Remark", new_column_name="Note", existing_type=sa.String(100))
    """,
    ),
    (
        """
    with op.get_context().autocommit_block():
        op.execute("CALL dp.set_not_null_online('\\"DialogActivity\\"', 'Remark')")
    """,
        """
    op.alter_column("DialogActivity", "Remark", nullable=True, existing_type=sa.Text())
    """,
    ),
)


@pytest.fixture
def migrations(tmp_path: Path) -> Config:
    """A folder as ``alembic init`` makes it, with the chain of revisions."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "env.py").write_text(ENV)
    for number, (upgrade, downgrade) in enumerate(REVISIONS, 1):
        text = REVISION.format(
            revision=f"r{number}", down=f"r{number - 1}" if number > 1 else None, upgrade=upgrade, downgrade=downgrade
        )
        (tmp_path / "versions" / f"r{number}.py").write_text(text)
    config = Config()
    config.set_main_option("script_location", str(tmp_path))
    return config


def test_alembic_goes_up_and_down_and_up_again(db: Database, migrations: Config) -> None:
    owner = declare(db)
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(db.server.dsn(db.name, "owner"))
    )
    with engine.connect() as connection:
        migrations.attributes["connection"] = connection
        command.upgrade(migrations, "head")
        connection.commit()
        assert drift(owner) == []
        above = catalogs.picture(db)
        command.downgrade(migrations, "base")
        connection.commit()
        assert drift(owner) == []
        columns = "SELECT count(*) FROM pg_attribute WHERE attname IN ('Title', 'Note', 'Remark') AND attnum > 0"
        assert db.value(columns) == 0
        command.upgrade(migrations, "head")
        connection.commit()
    engine.dispose()
    again = catalogs.picture(db)
    # a column that was dropped and added again has another number
    again["columns"] = above["columns"] = []
    assert catalogs.difference(above, again) == {}
    columns += " AND attrelid IN (SELECT oid FROM pg_class WHERE relkind IN ('r', 'p'))"
    assert db.value(columns) == 2 * (1 + 6 * 3) + 2, "both tables with slices and leaves, and their templates"
    new_slice(owner)
    assert drift(owner) == []


# As ``dotnet ef migrations script --idempotent`` writes it: its own AddColumn, and migrationBuilder.Sql of the form
# that the documentation recommends.
EF_SCRIPT = """
CREATE TABLE IF NOT EXISTS "__EFMigrationsHistory" (
    "MigrationId" character varying(150) NOT NULL,
    "ProductVersion" character varying(32) NOT NULL,
    CONSTRAINT "PK___EFMigrationsHistory" PRIMARY KEY ("MigrationId")
);

START TRANSACTION;

DO $EF$
BEGIN
    IF NOT EXISTS(SELECT 1 FROM "__EFMigrationsHistory" WHERE "MigrationId" = '20260101000000_Title') THEN
    ALTER TABLE "DialogContent" ADD "Title" character varying(255) NOT NULL DEFAULT '';
    END IF;
END $EF$;

DO $EF$
BEGIN
    IF NOT EXISTS(SELECT 1 FROM "__EFMigrationsHistory" WHERE "MigrationId" = '20260101000000_Title') THEN
    COMMENT ON COLUMN "DialogContent"."Title" IS 'shown';
    END IF;
END $EF$;

DO $EF$
BEGIN
    IF NOT EXISTS(SELECT 1 FROM "__EFMigrationsHistory" WHERE "MigrationId" = '20260101000000_Title') THEN
    CREATE INDEX "IX_DialogContent_Title" ON "DialogContent" ("Title");
    END IF;
END $EF$;

DO $EF$
BEGIN
    IF NOT EXISTS(SELECT 1 FROM "__EFMigrationsHistory" WHERE "MigrationId" = '20260101000000_Title') THEN
    DO $$ BEGIN
        PERFORM dp.add_column('"DialogActivity"', 'Note', 'text');
    END $$;
    END IF;
END $EF$;

DO $EF$
BEGIN
    IF NOT EXISTS(SELECT 1 FROM "__EFMigrationsHistory" WHERE "MigrationId" = '20260101000000_Title') THEN
    INSERT INTO "__EFMigrationsHistory" ("MigrationId", "ProductVersion")
    VALUES ('20260101000000_Title', '9.0.0');
    END IF;
END $EF$;
COMMIT;
"""


def test_the_idempotent_script_of_ef_core_runs_twice(db: Database) -> None:
    owner = declare(db)
    db.server.psql(db.name, EF_SCRIPT, "owner")
    assert drift(owner) == []
    before = catalogs.picture(db)
    db.server.psql(db.name, EF_SCRIPT, "owner")
    assert catalogs.difference(before, catalogs.picture(db)) == {}
    new_slice(owner)
    assert drift(owner) == []
    assert db.value(
        "SELECT count(*) FROM dp.leaf l JOIN pg_attribute a ON a.attrelid = l.leaf AND a.attname IN ('Title', 'Note')"
    ) == db.value("SELECT count(*) FROM dp.leaf WHERE tbl::text IN ('\"DialogContent\"', '\"DialogActivity\"')")


@pytest.mark.parametrize("key_form", dialogporten.KEY_FORMS)
def test_ten_changes_by_functions_twice_or_as_plain_ddl_give_the_same_catalog(db: Database, key_form: str) -> None:
    owner = declare(db, key_form)
    name = f"{db.name}_plain"
    with db.server.connect() as admin:
        for connection in db.connections:
            connection.close()
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {db.name} OWNER owner")
    plain = Database(db.server, name)
    try:
        owner, other = db.connect(), plain.connect()
        for _ in range(2):
            with owner.transaction():
                for function, _ in TEN_CHANGES:
                    owner.execute(f"SELECT {function}")  # type: ignore[call-overload]
        with other.transaction():
            for _, statement in TEN_CHANGES:
                other.execute(statement)  # type: ignore[call-overload]
        assert drift(owner) == drift(other) == []
        new_slice(owner)
        new_slice(other)
        assert catalogs.difference(catalogs.picture(db), catalogs.picture(plain)) == {}
    finally:
        plain.drop()


def test_psql_in_one_transaction(db: Database) -> None:
    owner = declare(db)
    script = "".join(f"SELECT {function};\n" for function, _ in TEN_CHANGES)
    dsn = db.server.inner_dsn(db.name, "owner")
    db.server.run("psql", "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", "-", "-d", dsn, script=script)
    assert drift(owner) == []
    assert db.value("SELECT count(*) FROM pg_constraint WHERE conname = 'CK_Type'") == 1 + 6 * 3
