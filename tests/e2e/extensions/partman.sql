-- Partitions of partitions, and rows of its configuration that hold keys to each other.
CREATE SCHEMA partman;
CREATE EXTENSION pg_partman SCHEMA partman;
CREATE TABLE events (at timestamptz NOT NULL, id bigint NOT NULL, note text) PARTITION BY RANGE (at);
SELECT partman.create_parent('public.events', 'at', 'native', 'monthly', p_premake := 1, p_start_partition := '2024-01-01');
SELECT partman.create_sub_parent('public.events', 'id', 'native', '1000', p_native_check := 'yes', p_premake := 1);
INSERT INTO events SELECT '2024-01-05'::timestamptz + i * interval '1 day', i, 'row ' || i FROM generate_series(1, 300) i;
CALL partman.partition_data_proc('public.events');
CALL partman.run_maintenance_proc();
