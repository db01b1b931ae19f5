-- A constraint of one partition that old rows break, as the parent knows, and two jobs of pg_restore do not.
CREATE TABLE parent (id int NOT NULL, value int) PARTITION BY RANGE (id);
CREATE TABLE low PARTITION OF parent FOR VALUES FROM (0) TO (1000);
CREATE TABLE high PARTITION OF parent FOR VALUES FROM (1000) TO (2000);
INSERT INTO parent SELECT i, i % 7 - 3 FROM generate_series(0, 1999) i;
ALTER TABLE low ADD CONSTRAINT positive CHECK (value > 0) NOT VALID;
ALTER TABLE ONLY high ADD CONSTRAINT small CHECK (value < 3) NOT VALID;
CREATE TABLE target (id int PRIMARY KEY);
INSERT INTO target VALUES (1);
ALTER TABLE high ADD FOREIGN KEY (value) REFERENCES target NOT VALID;
