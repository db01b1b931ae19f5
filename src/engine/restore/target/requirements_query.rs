//! The query by which the server is asked for the requirements of a restore.

use serde::Deserialize;
use serde_json::Value;

use crate::postgres::quote::literal;

/// The server's answer.
#[derive(Debug, Deserialize)]
pub struct Answer {
    /// The restoring role.
    pub role: String,
    /// Roles that do not exist.
    pub missing_roles: Vec<String>,
    /// Tablespaces that do not exist.
    pub missing_tablespaces: Vec<String>,
    /// Extensions that are not available.
    pub missing_extensions: Vec<String>,
    /// Collations that `pg_catalog` does not have.
    pub missing_collations: Vec<String>,
    /// Extensions that only a superuser may create.
    pub untrusted_extensions: Vec<String>,
    /// Roles that the role is not a member of, so that it cannot make them owners.
    pub foreign_roles: Vec<String>,
    /// New owners of objects without the CREATE privilege on the schema, with the schema.
    pub barred_owners: Vec<String>,
    /// The owner of the new database, if the role does not have that one's privileges.
    pub foreign_owner: Vec<String>,
    /// Tablespaces on which the role lacks the CREATE privilege.
    pub foreign_tablespaces: Vec<String>,
    /// Roles whose settings the role may not change.
    pub foreign_settings: Vec<String>,
    /// Settings that only a superuser may set.
    pub protected_settings: Vec<String>,
    /// Whether the current database has the locale, so that the server surely supports it.
    pub has_locale: bool,
}

/// Parameters have privileges since PostgreSQL 15. Since 16, membership in a role does not always allow SET ROLE, and
/// changing another role's settings requires the ADMIN option on it. Settings of superusers can be changed only by
/// superusers.
const QUERY: &str = "
    WITH asked AS (SELECT :'names'::jsonb AS names),
    me AS (SELECT *, current_setting('server_version_num')::int >= 160000 AS is_new
           FROM pg_roles WHERE rolname = current_user),
    roles AS (SELECT value AS name, to_regrole(quote_ident(value))::oid AS oid
              FROM asked, jsonb_array_elements_text(names->'roles')),
    tablespaces AS (SELECT value AS name, (SELECT oid FROM pg_tablespace WHERE spcname = value) AS oid
                    FROM asked, jsonb_array_elements_text(names->'tablespaces')),
    settings AS (SELECT value AS name, (SELECT context FROM pg_settings s WHERE lower(s.name) = lower(value)) AS context
                 FROM asked, jsonb_array_elements_text(names->'settings')),
    extensions AS (SELECT value AS name FROM asked, jsonb_array_elements_text(names->'extensions'))
    SELECT json_build_object(
        'role', (SELECT rolname FROM me),
        'missing_roles', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM roles WHERE oid IS NULL),
        'missing_tablespaces', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM tablespaces WHERE oid IS NULL),
        'missing_extensions', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM extensions e
            WHERE NOT EXISTS (SELECT FROM pg_available_extensions a WHERE a.name = e.name)),
        'missing_collations', (SELECT coalesce(json_agg(value ORDER BY value), '[]')
            FROM asked, jsonb_array_elements_text(names->'collations')
            WHERE NOT EXISTS (SELECT FROM pg_collation
                WHERE collname = value AND collnamespace = 'pg_catalog'::regnamespace)),
        'untrusted_extensions', (SELECT coalesce(json_agg(e.name ORDER BY e.name), '[]') FROM extensions e
            JOIN pg_available_extensions a ON a.name = e.name
            JOIN pg_available_extension_versions v ON v.name = a.name AND v.version = a.default_version
            WHERE v.superuser AND NOT v.trusted),
        'foreign_roles', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM roles, me
            WHERE roles.oid IS NOT NULL AND name IN (SELECT jsonb_array_elements_text(names->'owners') FROM asked)
              AND NOT pg_has_role(roles.oid, CASE WHEN is_new THEN 'SET' ELSE 'MEMBER' END)),
        'barred_owners', (SELECT coalesce(json_agg(DISTINCT o.rolname || ' in ' || (given->>'schema')), '[]')
            FROM asked, me, jsonb_array_elements(names->'given') given
                JOIN pg_roles o ON o.rolname = given->>'owner'
                JOIN pg_roles holder ON holder.rolname = given->>'holder'
            WHERE o.rolname <> me.rolname AND NOT pg_has_role(o.oid, holder.oid, 'USAGE')),
        'foreign_owner', (SELECT coalesce(json_agg(rolname), '[]') FROM asked, pg_roles r
            WHERE rolname = names->>'owner' AND NOT pg_has_role(r.oid, 'USAGE')),
        'foreign_tablespaces', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM tablespaces
            WHERE oid IS NOT NULL AND name <> 'pg_default' AND NOT has_tablespace_privilege(oid, 'CREATE')),
        'foreign_settings', (SELECT coalesce(json_agg(r.rolname ORDER BY r.rolname), '[]')
            FROM asked, me, jsonb_array_elements_text(names->'set_roles') name JOIN pg_roles r ON r.rolname = name
            WHERE r.rolname <> me.rolname AND (r.rolsuper OR NOT me.rolcreaterole
                OR me.is_new AND NOT pg_has_role(r.oid, 'USAGE WITH ADMIN OPTION'))),
        'has_locale', (SELECT to_jsonb(d) @> (names->'locale') FROM asked, pg_database d
            WHERE datname = current_database()),
        'protected_settings', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM settings
            WHERE context IS DISTINCT FROM 'user' AND NOT :parameter_privilege));
";

/// SQL: whether the role may set a parameter.
const PARAMETER_PRIVILEGE: &str =
    "((context IS NULL OR context = 'superuser') AND has_parameter_privilege(name, 'SET'))";

/// The query for a server of the major version `major`. `names` has the names to look up, by their kinds.
pub fn query(names: &Value, major: u32) -> String {
    let has_privileges = major >= 15;
    let query =
        QUERY.replace(":parameter_privilege", if has_privileges { PARAMETER_PRIVILEGE } else { "false" });
    // In the query itself, as a list of names may exceed the length of an argument.
    query.replace(":'names'", &literal(&names.to_string()))
}
