-- One job loads the checked rows, whose table is the first by its name, before those that the check looks up. Two jobs take
-- tables by their size, or as they were made: one takes the large table, whose first row is not done before the rows that
-- are looked up are there, and the other one those and then the checked ones.
CREATE FUNCTION has_waited() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE deadline timestamptz := pg_catalog.clock_timestamp() + interval '20 s';
BEGIN
    WHILE NOT public.is_allowed(1) AND pg_catalog.clock_timestamp() < deadline LOOP
        PERFORM pg_catalog.pg_sleep(0.01);
    END LOOP;
    RETURN true;
END $$;
CREATE TABLE large (i int CHECK (i <> 1 OR has_waited()), text text);
CREATE TABLE zz_allowed (value int PRIMARY KEY);
CREATE FUNCTION is_allowed(int) RETURNS boolean LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.zz_allowed WHERE value = $1)';
CREATE TABLE aa_checked (value int CHECK (is_allowed(value)));
INSERT INTO zz_allowed SELECT generate_series(1, 2000);
INSERT INTO aa_checked VALUES (1), (2);
INSERT INTO large SELECT i, md5(i::text) FROM generate_series(1, 20000) i;
