-- One line for each table, with its number of rows.
select format('select %L, count(*) from %I.%I', table_schema || '.' || table_name, table_schema, table_name)
from information_schema.tables
where table_type = 'BASE TABLE' and table_schema <> 'information_schema' and table_schema not like 'pg\_%'
order by 1 \gexec
