-- More tables than one transaction may lock by default.
CREATE TABLE many (id int, note text) PARTITION BY RANGE (id);
SELECT format('CREATE TABLE many_%s PARTITION OF many FOR VALUES FROM (%s) TO (%s)', i, i, i + 1) FROM generate_series(1, 3000) i \gexec
INSERT INTO many SELECT i, 'row ' || i FROM generate_series(1, 3000) i;
