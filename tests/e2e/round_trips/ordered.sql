-- Keys whose order is the database's own: the wrong locale moves rows to another partition or breaks a constraint.
CREATE TABLE words (word text PRIMARY KEY, folded text GENERATED ALWAYS AS (lower(word)) STORED) PARTITION BY RANGE (word);
CREATE TABLE words_low PARTITION OF words FOR VALUES FROM (MINVALUE) TO ('a');
CREATE TABLE words_high PARTITION OF words FOR VALUES FROM ('a') TO (MAXVALUE);
INSERT INTO words VALUES ('B'), ('b'), ('W'), ('v'), ('w'), ('z'), ('Ä'), ('ä'), ('10'), ('9'), ('_'), ('ß');
CREATE TABLE spans (low text, high text, CHECK (low < high));
INSERT INTO spans SELECT a.word, b.word FROM words a, words b WHERE a.word < b.word;
CREATE TYPE stretch AS RANGE (SUBTYPE = text);
CREATE TABLE stretches (stretch stretch, EXCLUDE USING gist (stretch WITH &&));
INSERT INTO stretches SELECT stretch(min(word), max(word)) FROM words;
CREATE MATERIALIZED VIEW in_order AS SELECT row_number() OVER (ORDER BY word), word, initcap(word) FROM words;
CREATE INDEX ON words (lower(word)) WHERE word ~ '\w';
