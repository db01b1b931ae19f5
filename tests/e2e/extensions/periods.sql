-- Its event triggers lock tables of its own, so that two jobs of pg_restore wait for each other for ever.
CREATE EXTENSION periods CASCADE;
CREATE TABLE staff (row int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id int, name text, from_day date, to_day date);
SELECT periods.add_period('staff', 'employed', 'from_day', 'to_day');
SELECT periods.add_unique_key('staff', ARRAY['id'], 'employed');
SELECT periods.add_for_portion_view('staff', 'employed');
CREATE TABLE badges (row int PRIMARY KEY, id int, staff int, from_day date, to_day date);
SELECT periods.add_period('badges', 'held', 'from_day', 'to_day');
INSERT INTO staff (id, name, from_day, to_day) VALUES (1, 'Ann', '2020-01-01', '2024-01-01'), (1, 'Ann B', '2024-01-01', '2030-01-01'), (2, 'Bo', '2021-01-01', 'infinity');
INSERT INTO badges VALUES (1, 7, 1, '2021-01-01', '2025-01-01');
CREATE TABLE prices (item text PRIMARY KEY, price numeric);
SELECT periods.add_system_time_period('prices');
INSERT INTO prices VALUES ('a', 1), ('b', 2);
UPDATE prices SET price = 3 WHERE item = 'a';
DELETE FROM prices WHERE item = 'b';
