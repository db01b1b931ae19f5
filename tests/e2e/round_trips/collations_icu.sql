-- Collations of ICU, where the server has it.
CREATE SCHEMA app AUTHORIZATION app_owner;
CREATE COLLATION app.no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE COLLATION app.numeric_order (provider = icu, locale = 'en-u-kn-true');
