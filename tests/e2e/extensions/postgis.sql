-- The rows of topology.layer need those of topology.topology, and no dump knows that.
CREATE EXTENSION postgis;
CREATE EXTENSION postgis_topology;
CREATE TABLE places (id int PRIMARY KEY, at geometry(Point, 4326), area geography(Polygon), z geometry(PointZM));
INSERT INTO places SELECT i, ST_SetSRID(ST_MakePoint(i % 180, i % 90), 4326), ST_Buffer(ST_MakePoint(i % 90, i % 45)::geography, 100), ST_MakePoint(i, 1, 2, 3) FROM generate_series(1, 500) i;
CREATE INDEX ON places USING gist (at);
CREATE INDEX ON places USING spgist (at);
INSERT INTO spatial_ref_sys VALUES (990001, 'own', 1, 'LOCAL_CS["own"]', '+proj=longlat');
SELECT topology.CreateTopology('city', 4326);
CREATE TABLE streets (id int PRIMARY KEY, name text);
SELECT topology.AddTopoGeometryColumn('city', 'public', 'streets', 'line', 'LINE');
INSERT INTO streets SELECT i, 'street ' || i, topology.toTopoGeom(ST_SetSRID(ST_MakeLine(ST_MakePoint(i, 0), ST_MakePoint(i, 10)), 4326), 'city', 1) FROM generate_series(1, 20) i;
CREATE MATERIALIZED VIEW lengths AS SELECT id, ST_Length(line::geometry) AS length FROM streets;
