-- The same names where the server lacks ICU.
CREATE SCHEMA app AUTHORIZATION app_owner;
CREATE COLLATION app.no_case (provider = builtin, locale = 'PG_UNICODE_FAST');
CREATE COLLATION app.numeric_order (provider = libc, locale = 'C.UTF-8');
