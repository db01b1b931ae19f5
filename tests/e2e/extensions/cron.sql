-- Jobs that are never due while a test runs.
CREATE EXTENSION pg_cron;
SELECT cron.schedule('yearly', '0 0 1 1 *', 'VACUUM');
SELECT cron.schedule('new year', '1 0 1 1 *', $$DELETE FROM public.log WHERE at < now() - interval '1 year'$$);
UPDATE cron.job SET active = false WHERE jobname = 'yearly';
CREATE TABLE log (at timestamptz DEFAULT '2024-01-01', line text);
INSERT INTO log (line) SELECT 'line ' || i FROM generate_series(1, 1000) i;
