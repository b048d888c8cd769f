"""A migration of the hierarchy: each change by its function, and as a tool generates it."""

from __future__ import annotations

TEN_CHANGES = (
    (
        """dp.add_column('"Dialog"', 'Channel', 'varchar(50)', default_value => $$'web'$$, not_null => true)""",
        """ALTER TABLE "Dialog" ADD COLUMN "Channel" varchar(50) DEFAULT 'web' NOT NULL""",
    ),
    (
        """dp.add_column('"DialogContent"', 'Title', 'text COLLATE "C"', comment => 'shown')""",
        """ALTER TABLE "DialogContent" ADD COLUMN "Title" text COLLATE "C";
        COMMENT ON COLUMN "DialogContent"."Title" IS 'shown'""",
    ),
    (
        """dp.rename_column('"DialogContent"', 'MediaType', 'ContentType')""",
        """ALTER TABLE "DialogContent" RENAME COLUMN "MediaType" TO "ContentType\"""",
    ),
    (
        """dp.alter_column_type('"DialogActivity"', 'ExtendedType', 'text')""",
        """ALTER TABLE "DialogActivity" ALTER COLUMN "ExtendedType" TYPE text""",
    ),
    (
        """dp.set_default('"DialogActivity"', 'ExtendedType', $$'none'$$)""",
        """ALTER TABLE "DialogActivity" ALTER COLUMN "ExtendedType" SET DEFAULT 'none'""",
    ),
    (
        """dp.set_not_null('"DialogActivity"', 'ExtendedType')""",
        """ALTER TABLE "DialogActivity" ALTER COLUMN "ExtendedType" SET NOT NULL""",
    ),
    (
        """dp.add_constraint('"DialogActivity"', 'CK_Type', 'CHECK ("TypeId" > 0)')""",
        """ALTER TABLE "DialogActivity" ADD CONSTRAINT "CK_Type" CHECK ("TypeId" > 0)""",
    ),
    (
        """dp.create_index('"DialogSeenLog"', 'IX_Seen_CreatedAt', '("CreatedAt" DESC)')""",
        """CREATE INDEX "IX_Seen_CreatedAt" ON "DialogSeenLog" ("CreatedAt" DESC)""",
    ),
    (
        """dp.drop_index('"DialogContent"', 'IX_DialogContent_TypeId')""",
        """DROP INDEX "IX_DialogContent_TypeId\"""",
    ),
    (
        """dp.alter_table('"Actor"', 'REPLICA IDENTITY FULL')""",
        """ALTER TABLE "Actor" REPLICA IDENTITY FULL""",
    ),
)
