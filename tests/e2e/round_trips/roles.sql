-- Roles and tablespaces that the databases need. Names and passwords that break careless quoting.
CREATE ROLE app_owner LOGIN PASSWORD 'owner';
CREATE ROLE app_reader LOGIN PASSWORD 'it''s';
CREATE ROLE app_root SUPERUSER;
CREATE ROLE "Röle 'q' ""dq"" \ $1; %s --" IN ROLE app_owner;
CREATE ROLE "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz";
ALTER ROLE app_reader SET work_mem = '5MB';
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE fast OWNER app_owner LOCATION '';
CREATE TABLESPACE "Spâce 'two'" LOCATION '';
GRANT CREATE ON TABLESPACE "Spâce 'two'" TO app_reader;
