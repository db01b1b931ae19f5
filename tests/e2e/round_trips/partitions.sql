-- More tables than a restore in one transaction could lock. Those of one parent take a time that is the square of their number.
CREATE TABLE many (id int, note text) PARTITION BY RANGE (id);
SELECT format('CREATE TABLE many_%s PARTITION OF many FOR VALUES FROM (%s) TO (%s) PARTITION BY RANGE (id)', i, i * 100, i * 100 + 100)
FROM generate_series(0, 29) i \gexec
SELECT format('CREATE TABLE many_%1$s_%2$s PARTITION OF many_%1$s FOR VALUES FROM (%3$s) TO (%4$s)', i / 100, i % 100, i, i + 1)
FROM generate_series(0, 2999) i \gexec
INSERT INTO many SELECT i, 'row ' || i FROM generate_series(0, 2999) i;
