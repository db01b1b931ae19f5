//! What a database is besides its contents: owner, encoding, locale, settings, grants. A restore makes a
//! new database; these are carried over to it.

use serde::Deserialize;

use crate::catalog::DatabaseName;
use crate::postgres::quote::{identifier, literal};
use crate::postgres::{Client, DatabaseError};

/// The properties of an existing database.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Properties {
    /// Its row in `pg_database`, whose columns differ between versions of PostgreSQL.
    row: Row,
    owner: String,
    encoding: String,
    tablespace: String,
    comment: Option<String>,
    settings: Vec<Setting>,
    /// In the order of `datacl`; `None` where nothing was ever granted or revoked.
    grants: Option<Vec<Grant>>,
    /// Its size in bytes.
    pub size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Row {
    datcollate: String,
    datctype: String,
    datconnlimit: i64,
    datistemplate: bool,
    datallowconn: bool,
    /// Since PostgreSQL 15.
    datlocprovider: Option<String>,
    /// PostgreSQL 15 and 16.
    daticulocale: Option<String>,
    /// Since PostgreSQL 17.
    datlocale: Option<String>,
    /// Since PostgreSQL 16.
    daticurules: Option<String>,
}

/// `ALTER DATABASE … SET`, or `ALTER ROLE … IN DATABASE … SET` with a role.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Setting {
    role: Option<String>,
    /// `name=value`.
    assignment: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Grant {
    grantor: String,
    /// `None` for PUBLIC.
    grantee: Option<String>,
    privilege: String,
    grantable: bool,
}

/// Variables whose value is a list of quoted names; PostgreSQL allows no extension to add one.
const NAME_LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

const QUERY: &str = "
    SELECT json_build_object(
        'row', to_jsonb(d) - 'datacl',
        'owner', pg_get_userbyid(d.datdba),
        'encoding', pg_encoding_to_char(d.encoding),
        'tablespace', (SELECT spcname FROM pg_tablespace t WHERE t.oid = d.dattablespace),
        'comment', shobj_description(d.oid, 'pg_database'),
        'size', pg_database_size(d.oid),
        'settings', (SELECT coalesce(json_agg(json_build_object(
                'role', CASE WHEN s.setrole <> 0 THEN pg_get_userbyid(s.setrole) END,
                'assignment', c.assignment) ORDER BY s.setrole, c.position), '[]')
            FROM pg_db_role_setting s, unnest(s.setconfig) WITH ORDINALITY c(assignment, position)
            WHERE s.setdatabase = d.oid),
        'grants', CASE WHEN d.datacl IS NOT NULL THEN (SELECT coalesce(json_agg(json_build_object(
                'grantor', pg_get_userbyid(a.grantor),
                'grantee', CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END,
                'privilege', a.privilege_type,
                'grantable', a.is_grantable)), '[]')
            FROM aclexplode(d.datacl) a) END)
    FROM pg_database d WHERE d.datname = :'database';
";

impl Properties {
    /// The properties of a database; `None` when there is no such database.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub fn of(client: &Client, database: &DatabaseName) -> Result<Option<Self>, DatabaseError> {
        client.ask(QUERY, &[("database", database.as_str())])
    }

    /// Whether an interrupted DROP DATABASE has left it unusable (`DATCONNLIMIT_INVALID_DB` in PostgreSQL).
    pub fn is_invalid(&self) -> bool {
        self.row.datconnlimit == -2
    }

    /// Whether it lies where databases lie unless told otherwise.
    pub fn is_in_default_tablespace(&self) -> bool {
        self.tablespace == "pg_default"
    }

    /// Whether other databases are made from this one.
    pub fn is_template(&self) -> bool {
        self.row.datistemplate
    }

    /// What follows `CREATE DATABASE name TEMPLATE template0` for a database like this one.
    pub fn create_clauses(&self) -> String {
        let mut clauses = format!(
            "OWNER {} ENCODING {} LC_COLLATE {} LC_CTYPE {}",
            identifier(&self.owner),
            literal(&self.encoding),
            literal(&self.row.datcollate),
            literal(&self.row.datctype),
        );
        // Only superusers and those who were granted it may name a tablespace, the default one too.
        if self.tablespace != "pg_default" {
            clauses.push_str(&format!(" TABLESPACE {}", identifier(&self.tablespace)));
        }
        let locale = self.row.datlocale.as_ref().or(self.row.daticulocale.as_ref());
        let (provider, option) = match self.row.datlocprovider.as_deref() {
            Some("i") => ("icu", "ICU_LOCALE"),
            Some("b") => ("builtin", "BUILTIN_LOCALE"),
            // Said, as template0 may have another one.
            Some(_) => return clauses + " LOCALE_PROVIDER libc",
            None => return clauses,
        };
        clauses.push_str(&format!(" LOCALE_PROVIDER {provider}"));
        if let Some(locale) = locale {
            clauses.push_str(&format!(" {option} {}", literal(locale)));
        }
        if let Some(rules) = &self.row.daticurules {
            clauses.push_str(&format!(" ICU_RULES {}", literal(rules)));
        }
        clauses
    }

    /// The orders that give `database`, made by [`Self::create_clauses`] and loaded, the rest. They come
    /// after the load, which a setting such as `default_transaction_read_only` would break.
    pub fn orders(&self, database: &str) -> String {
        let name = identifier(database);
        let mut orders = Vec::new();
        for setting in &self.settings {
            let whom = match &setting.role {
                Some(role) => format!("ROLE {} IN DATABASE {name}", identifier(role)),
                None => format!("DATABASE {name}"),
            };
            let (variable, value) = setting.assignment.split_once('=').unwrap_or((&setting.assignment, ""));
            orders.push(format!(
                "ALTER {whom} SET {} TO {};",
                identifier(variable),
                value_of(variable, value)
            ));
        }
        orders.extend(self.grant_orders(&name));
        orders.push(format!("ALTER DATABASE {name} CONNECTION LIMIT {};", self.row.datconnlimit));
        if !self.row.datallowconn {
            orders.push(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false;"));
        }
        orders.join("\n")
    }

    /// The order that gives `database` this one's comment.
    pub fn comment_order(&self, database: &str) -> String {
        let comment = self.comment.as_deref().map_or("NULL".to_owned(), literal);
        format!("COMMENT ON DATABASE {} IS {comment};", identifier(database))
    }

    fn grant_orders(&self, name: &str) -> Vec<String> {
        let Some(grants) = &self.grants else { return Vec::new() };
        let owner = identifier(&self.owner);
        let mut orders = vec![format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC, {owner};")];
        // The owner's own grants first: whoever passes a privilege on must have it by then.
        let (own, passed_on): (Vec<_>, Vec<_>) = grants.iter().partition(|grant| grant.grantor == self.owner);
        for grant in own.into_iter().chain(passed_on) {
            let grantee = grant.grantee.as_deref().map_or("PUBLIC".to_owned(), identifier);
            let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
            let order = format!("GRANT {} ON DATABASE {name} TO {grantee}{option};", grant.privilege);
            match grant.grantor == self.owner {
                true => orders.push(order),
                false => orders.push(format!("SET ROLE {}; {order} RESET ROLE;", identifier(&grant.grantor))),
            }
        }
        orders
    }
}

fn value_of(variable: &str, value: &str) -> String {
    if !NAME_LISTS.contains(&variable.to_ascii_lowercase().as_str()) {
        return literal(value);
    }
    let names: Vec<String> = split_names(value).iter().map(|name| literal(name)).collect();
    if names.is_empty() { literal("") } else { names.join(", ") }
}

/// Splits a list of names at its commas; a name in double quotes may hold any character.
fn split_names(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut name = String::new();
    let (mut quoted, mut any) = (false, false);
    let mut characters = list.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                name.push('"');
            }
            '"' => (quoted, any) = (!quoted, true),
            ',' if !quoted => {
                names.push(std::mem::take(&mut name));
                any = true;
            }
            c if c.is_whitespace() && !quoted => {}
            c => {
                name.push(c);
                any = true;
            }
        }
    }
    if any {
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(extra: &str) -> Properties {
        let text = format!(
            r#"{{"row":{{"datcollate":"C","datctype":"de_DE.UTF-8","datconnlimit":-1,"datistemplate":false,
            "datallowconn":true{extra}}},"owner":"o\"wner","encoding":"UTF8","tablespace":"pg_default",
            "comment":"it's","size":1,
            "settings":[{{"role":null,"assignment":"search_path=\"$user\", \"my schema\", public"}},
                        {{"role":"r","assignment":"app.x=a=b"}}],
            "grants":[{{"grantor":"other","grantee":null,"privilege":"CONNECT","grantable":false}},
                      {{"grantor":"o\"wner","grantee":"other","privilege":"CONNECT","grantable":true}}]}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_locale_is_written_as_its_provider_wants_it() {
        let common = r#"OWNER "o""wner" ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'de_DE.UTF-8'"#;
        for (extra, expected) in [
            ("", String::new()),
            (r#","datlocprovider":"c","datlocale":null"#, " LOCALE_PROVIDER libc".into()),
            (r#","datlocprovider":"i","daticulocale":"de""#, " LOCALE_PROVIDER icu ICU_LOCALE 'de'".into()),
            (
                r#","datlocprovider":"i","datlocale":"de","daticurules":"&a<b""#,
                " LOCALE_PROVIDER icu ICU_LOCALE 'de' ICU_RULES '&a<b'".into(),
            ),
            (
                r#","datlocprovider":"b","datlocale":"C.UTF-8""#,
                " LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'".into(),
            ),
        ] {
            assert_eq!(properties(extra).create_clauses(), format!("{common}{expected}"));
        }
    }

    #[test]
    fn settings_and_grants_become_orders() {
        let expected = r#"ALTER DATABASE "s" SET "search_path" TO '$user', 'my schema', 'public';
ALTER ROLE "r" IN DATABASE "s" SET "app.x" TO 'a=b';
REVOKE ALL ON DATABASE "s" FROM PUBLIC, "o""wner";
GRANT CONNECT ON DATABASE "s" TO "other" WITH GRANT OPTION;
SET ROLE "other"; GRANT CONNECT ON DATABASE "s" TO PUBLIC; RESET ROLE;
ALTER DATABASE "s" CONNECTION LIMIT -1;"#;
        assert_eq!(properties("").orders("s"), expected);
        assert_eq!(properties("").comment_order("s"), r#"COMMENT ON DATABASE "s" IS 'it''s';"#);
    }

    #[test]
    fn lists_of_names_are_split_outside_quotes() {
        assert_eq!(split_names(r#""a,b" , c"d"#), ["a,b", "cd"]);
        assert_eq!(split_names(r#""a""b", """#), [r#"a"b"#, ""]);
        assert_eq!(split_names(""), Vec::<String>::new());
        assert_eq!(value_of("search_path", r#""""#), "''");
    }
}
