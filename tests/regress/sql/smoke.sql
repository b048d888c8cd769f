-- make installcheck: the extension that is installed does its work on this server.
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION dialog_partition;
CREATE TABLE dialog (
    id bigint,
    party text,
    updated_at timestamptz,
    PRIMARY KEY (id, updated_at, party)
) PARTITION BY RANGE (updated_at);
CREATE TABLE activity (id bigint PRIMARY KEY, dialog_id bigint NOT NULL);

-- declared
SELECT count(*) > 0 AS planned
FROM dp.create_hierarchy('dialog', 'updated_at', 'party', hash_partitions => 2, premake => 2, retention => '2 months');
SELECT count(*) > 0 AS planned FROM dp.register_child('activity', 'dialog', '{dialog_id}', 'CASCADE');
SELECT tbl, role, partition_column, hash_key FROM dp.managed_table ORDER BY role DESC;

-- a dry run shows and does nothing
CALL dp.create_slices('dialog', '2025-06-01', '2025-08-01', dry_run => true);
SELECT count(*) > 0 AS planned FROM dp.last_plan;
SELECT count(*) FROM dp.slice;

-- slices
CALL dp.create_slices('dialog', '2025-06-01', '2025-08-01');
SELECT tbl, slice, lower_local, upper_local, modulus, leaves FROM dp.slice ORDER BY lower_local, slice::text COLLATE "C";
INSERT INTO dialog VALUES (1, 'a', '2025-06-15 12:00+00'), (2, 'b', '2025-07-15 12:00+00');
INSERT INTO activity (id, dialog_id, updated_at, party) VALUES (10, 1, '2025-06-15 12:00+00', 'a');
UPDATE dialog SET updated_at = '2025-07-20 12:00+00' WHERE id = 1;
SELECT id, updated_at AT TIME ZONE 'UTC' AS updated_at FROM activity;

-- maintenance, on a day of 2025: June is beyond retention on the first of September
SET dp.now = '2025-09-01 00:00+00';
CALL dp.run_maintenance('dialog');
SELECT slice, lower_local, is_attached FROM dp.slice WHERE tbl = 'dialog'::regclass
ORDER BY lower_local, slice::text COLLATE "C";
SELECT severity, finding, target FROM dp.check('dialog') WHERE severity = 'error';

-- forgotten, the tables stay
SELECT count(*) > 0 AS planned FROM dp.forget('dialog');
SELECT count(*) FROM dp.hierarchy;
SELECT count(*) FROM dialog;
DROP EXTENSION dialog_partition;
