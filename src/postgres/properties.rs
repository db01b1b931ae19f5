//! The properties of a database: read from a server, and as SQL statements that recreate them.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::client::parsed;
use super::database_settings::{changes_rights, setting_statements};
use super::quote::{identifier, literal, one_line_literal};
use super::{Client, DatabaseError};
use crate::store::catalog::{DatabaseName, Grant, Label, Locale, Properties, Provider, Setting, Settings};
use crate::system::process::ProgramError;

/// The server's answer.
#[derive(Debug, Deserialize)]
struct Found {
    properties: Row,
    /// Whether all text in it is ASCII.
    is_ascii: bool,
}

#[derive(Debug, Deserialize)]
struct Row {
    /// Its row in `pg_database`; the columns depend on the version of PostgreSQL.
    row: Columns,
    owner: String,
    encoding: String,
    tablespace: String,
    comment: Option<String>,
    labels: Vec<Label>,
    settings: Vec<Setting>,
    grants: Option<Vec<Grant>>,
    size: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Columns {
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

/// Query for the properties of `:'database'`. psql drops bytes that are not valid text, so the server reports whether
/// all of it is ASCII.
pub const PROPERTIES: &str = "
    SELECT json_build_object('properties', row,
        'is_ascii', encode(convert_to(row::text, 'UTF8'), 'hex') ~ '^([0-7].)*$')
    FROM (SELECT json_build_object(
        'row', to_jsonb(d) - 'datacl',
        'owner', pg_get_userbyid(d.datdba),
        'encoding', pg_encoding_to_char(d.encoding),
        'tablespace', (SELECT spcname FROM pg_tablespace t WHERE t.oid = d.dattablespace),
        'comment', shobj_description(d.oid, 'pg_database'),
        'labels', (SELECT coalesce(json_agg(json_build_object('provider', l.provider, 'label', l.label)
                                            ORDER BY l.provider), '[]')
            FROM pg_shseclabel l WHERE l.objoid = d.oid AND l.classoid = 'pg_database'::regclass),
        'size', CASE WHEN has_database_privilege(d.oid, 'CONNECT') THEN pg_database_size(d.oid) END,
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
    FROM pg_database d WHERE d.datname = :'database') AS found(row);
";

/// The answer, or `other` if the server could not give it or psql could not read it.
fn or_else<T>(
    answer: Result<T, DatabaseError>,
    other: impl FnOnce() -> Result<T, DatabaseError>,
) -> Result<T, DatabaseError> {
    match answer {
        Err(DatabaseError::Program(ProgramError::Failed(..)) | DatabaseError::Answer(_)) => other(),
        answer => answer,
    }
}

impl Properties {
    /// The properties of a database; `None` if it does not exist.
    ///
    /// # Errors
    /// When the query fails.
    pub fn of(client: &Client, database: &DatabaseName) -> Result<Option<Self>, DatabaseError> {
        Self::of_answer(client.ask(PROPERTIES, &[("database", database.as_str())]), client, database)
    }

    /// The same, given the server's answer to [`PROPERTIES`]. Its text is in the encoding of the database. If not all
    /// is ASCII, that database is queried itself, unless it refuses connections or contains invalid text. A database
    /// that does not exist is never connected to, because poolers delay later clients after such an attempt.
    ///
    /// # Errors
    /// When the query fails.
    pub fn of_answer(
        answer: Result<serde_json::Value, DatabaseError>,
        client: &Client,
        database: &DatabaseName,
    ) -> Result<Option<Self>, DatabaseError> {
        let ask =
            |client: &Client| client.ask::<Option<Found>>(PROPERTIES, &[("database", database.as_str())]);
        let own = || or_else(ask(&client.of_database(database)), || ask(client));
        let found = match answer.and_then(parsed::<Option<Found>>) {
            Ok(Some(Found { is_ascii: false, .. })) => own()?,
            answer => or_else(answer, own)?,
        };
        Ok(found.map(|found| found.properties.into()))
    }

    /// Whether an interrupted DROP DATABASE has left it unusable (`DATCONNLIMIT_INVALID_DB` in PostgreSQL).
    pub fn is_invalid(&self) -> bool {
        self.connection_limit == -2
    }

    /// Whether it is in the default tablespace.
    pub fn is_in_default_tablespace(&self) -> bool {
        self.tablespace == "pg_default"
    }

    /// The clauses after `CREATE DATABASE name TEMPLATE template0` to create a similar database, for a server of this
    /// major version.
    pub fn create_clauses(&self, major: u32) -> String {
        let (owner, encoding) = (identifier(&self.owner), self.encoding_clauses(major));
        format!("OWNER {owner} {encoding}{}", self.tablespace_clause())
    }

    /// The tablespace clause; empty for the default, because naming even that takes superuser rights or a grant.
    pub fn tablespace_clause(&self) -> String {
        match self.is_in_default_tablespace() {
            true => String::new(),
            false => format!(" TABLESPACE {}", identifier(&self.tablespace)),
        }
    }

    /// Only the clauses for encoding and locale.
    pub fn encoding_clauses(&self, major: u32) -> String {
        let Locale { provider, collate, ctype, name, rules } = &self.locale;
        let (encoding, collate, ctype) = (literal(&self.encoding), literal(collate), literal(ctype));
        let mut clauses = format!("ENCODING {encoding} LC_COLLATE {collate} LC_CTYPE {ctype}");
        // Older servers only have libc. Newer ones are always told, because template0 may use another provider.
        if major >= 15 || *provider != Provider::Libc {
            clauses.push_str(&format!(" LOCALE_PROVIDER {}", provider.word()));
        }
        if let Some(name) = name {
            let option = if *provider == Provider::Builtin { "BUILTIN_LOCALE" } else { "ICU_LOCALE" };
            clauses.push_str(&format!(" {option} {}", literal(name)));
        }
        if let Some(rules) = rules {
            clauses.push_str(&format!(" ICU_RULES {}", one_line_literal(rules)));
        }
        clauses
    }

    /// The statements for its unencrypted settings in `database`. Most are needed before the load, because the
    /// contents may depend on them. Those that change the rights of a session ([`changes_rights`]) come after it.
    /// `after_load` selects which of the two.
    pub fn setting_statements(&self, database: &str, after_load: bool) -> String {
        match &self.settings {
            Settings::Clear(settings) => {
                let chosen =
                    settings.iter().filter(|setting| changes_rights(setting.parts().0) == after_load);
                setting_statements(chosen, database).join("\n")
            }
            Settings::Sealed(_) => String::new(),
        }
    }

    /// The statements that remove from `database` all settings that this one has.
    pub fn reset_statements(&self, database: &str) -> String {
        let name = identifier(database);
        let Settings::Clear(settings) = &self.settings else { return String::new() };
        let roles: BTreeSet<&String> = settings.iter().filter_map(|setting| setting.role.as_ref()).collect();
        let of_role =
            |role: &&String| format!("ALTER ROLE {} IN DATABASE {name} RESET ALL;", identifier(role));
        let mut statements = vec![format!("ALTER DATABASE {name} RESET ALL;")];
        statements.extend(roles.iter().map(of_role));
        statements.join("\n")
    }

    /// The statements for the labels and grants of `database`.
    pub fn grant_statements(&self, database: &str) -> String {
        let name = identifier(database);
        let labels = self.labels.iter().map(|Label { provider, label }| {
            let (provider, label) = (identifier(provider), one_line_literal(label));
            format!("SECURITY LABEL FOR {provider} ON DATABASE {name} IS {label};")
        });
        labels.chain(self.grants_on(&name)).collect::<Vec<_>>().join("\n")
    }

    /// The statements that open the finished `database` to users, where it differs from a new one. `is_shut` means
    /// that it was created with `CONNECTION LIMIT 0`.
    pub fn access_statements(&self, database: &str, is_shut: bool) -> String {
        let name = identifier(database);
        let mut statements = Vec::new();
        if is_shut || self.connection_limit != -1 {
            statements.push(format!("ALTER DATABASE {name} CONNECTION LIMIT {};", self.connection_limit));
        }
        if self.is_template {
            statements.push(format!("ALTER DATABASE {name} IS_TEMPLATE true;"));
        }
        if !self.allows_connections {
            statements.push(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false;"));
        }
        statements.join("\n")
    }

    /// The statement for the comment of `database`.
    pub fn comment_statement(&self, database: &str) -> String {
        let comment = self.comment.as_deref().map_or("NULL".to_owned(), one_line_literal);
        format!("COMMENT ON DATABASE {} IS {comment};", identifier(database))
    }

    /// SQL for psql that creates an empty `database` with these properties, except encrypted settings, on a server of
    /// this major version.
    pub fn script(&self, database: &str, major: u32) -> String {
        let create = format!(
            "CREATE DATABASE {} TEMPLATE template0 {};",
            identifier(database),
            self.create_clauses(major)
        );
        let settings = [false, true].map(|after_load| self.setting_statements(database, after_load));
        let rest = [self.grant_statements(database), self.access_statements(database, false)];
        let comment = self.comment.as_ref().map(|_| self.comment_statement(database));
        let parts = [create].into_iter().chain(settings).chain(rest).chain(comment);
        parts.filter(|part| !part.is_empty()).map(|part| part + "\n").collect()
    }

    fn grants_on(&self, name: &str) -> Vec<String> {
        let Some(grants) = &self.grants else { return Vec::new() };
        let owner = identifier(&self.owner);
        let mut statements = vec![format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC, {owner};")];
        // The owner's own grants come first, because a role needs a privilege before it can grant it.
        let (own, passed_on): (Vec<_>, Vec<_>) = grants.iter().partition(|grant| grant.grantor == self.owner);
        for grant in own.into_iter().chain(passed_on) {
            let grantee = grant.grantee.as_deref().map_or("PUBLIC".to_owned(), identifier);
            let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
            let statement = format!("GRANT {} ON DATABASE {name} TO {grantee}{option};", grant.privilege);
            match grant.grantor == self.owner {
                true => statements.push(statement),
                false => statements
                    .push(format!("SET ROLE {}; {statement} RESET ROLE;", identifier(&grant.grantor))),
            }
        }
        statements
    }
}

impl From<Row> for Properties {
    fn from(row: Row) -> Self {
        let Columns { datcollate, datctype, datconnlimit, datistemplate, datallowconn, .. } = row.row;
        let locale = Locale {
            provider: match row.row.datlocprovider.as_deref() {
                Some("i") => Provider::Icu,
                Some("b") => Provider::Builtin,
                _ => Provider::Libc,
            },
            collate: datcollate,
            ctype: datctype,
            name: row.row.datlocale.or(row.row.daticulocale),
            rules: row.row.daticurules,
        };
        Self {
            owner: row.owner,
            encoding: row.encoding,
            locale,
            tablespace: row.tablespace,
            connection_limit: datconnlimit,
            allows_connections: datallowconn,
            is_template: datistemplate,
            comment: row.comment,
            labels: row.labels,
            grants: row.grants,
            settings: Settings::Clear(row.settings),
            size: row.size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(extra: &str) -> Properties {
        let text = format!(
            r#"{{"row":{{"datcollate":"C","datctype":"de_DE.UTF-8","datconnlimit":-1,"datistemplate":false,
            "datallowconn":true{extra}}},"owner":"o\"wner","encoding":"UTF8","tablespace":"pg_default",
            "comment":"it's","size":1,"labels":[{{"provider":"p","label":"l'"}}],
            "settings":[{{"role":null,"assignment":"search_path=\"$user\", \"my schema\", public"}},
                        {{"role":"r","assignment":"app.x=a=b\nc"}}],
            "grants":[{{"grantor":"other","grantee":null,"privilege":"CONNECT","grantable":false}},
                      {{"grantor":"o\"wner","grantee":"other","privilege":"CONNECT","grantable":true}}]}}"#
        );
        serde_json::from_str::<Row>(&text).unwrap().into()
    }

    #[test]
    fn the_locale_is_written_as_its_provider_wants_it() {
        let common = r#"OWNER "o""wner" ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'de_DE.UTF-8'"#;
        for (major, extra, expected) in [
            (14, "", String::new()),
            (15, "", " LOCALE_PROVIDER libc".into()),
            (15, r#","datlocprovider":"c","datlocale":null"#, " LOCALE_PROVIDER libc".into()),
            (
                15,
                r#","datlocprovider":"i","daticulocale":"de""#,
                " LOCALE_PROVIDER icu ICU_LOCALE 'de'".into(),
            ),
            (
                18,
                r#","datlocprovider":"i","datlocale":"de","daticurules":"&a<b""#,
                " LOCALE_PROVIDER icu ICU_LOCALE 'de' ICU_RULES '&a<b'".into(),
            ),
            (
                18,
                r#","datlocprovider":"b","datlocale":"C.UTF-8""#,
                " LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'".into(),
            ),
        ] {
            assert_eq!(properties(extra).create_clauses(major), format!("{common}{expected}"));
        }
    }

    #[test]
    fn settings_labels_and_grants_become_statements_of_one_line() {
        let expected = r#"ALTER DATABASE "s" SET "search_path" TO '$user', 'my schema', 'public';
ALTER ROLE "r" IN DATABASE "s" SET "app.x" TO  E'a=b\nc';
SECURITY LABEL FOR "p" ON DATABASE "s" IS 'l''';
REVOKE ALL ON DATABASE "s" FROM PUBLIC, "o""wner";
GRANT CONNECT ON DATABASE "s" TO "other" WITH GRANT OPTION;
SET ROLE "other"; GRANT CONNECT ON DATABASE "s" TO PUBLIC; RESET ROLE;
ALTER DATABASE "s" CONNECTION LIMIT -1;"#;
        let properties = properties("");
        let parts = [
            properties.setting_statements("s", false),
            properties.grant_statements("s"),
            properties.access_statements("s", true),
        ];
        assert_eq!(parts.join("\n"), expected);
        assert_eq!(properties.access_statements("s", false), "");
        let reset = "ALTER DATABASE \"s\" RESET ALL;\nALTER ROLE \"r\" IN DATABASE \"s\" RESET ALL;";
        assert_eq!(properties.reset_statements("s"), reset);
        assert_eq!(properties.comment_statement("s"), r#"COMMENT ON DATABASE "s" IS 'it''s';"#);
        assert_eq!(properties.roles(), ["o\"wner", "other", "r"]);
    }

    #[test]
    fn what_is_recorded_is_read_again() {
        let properties = Properties { size: None, ..properties("") };
        let text = serde_json::to_string(&properties).unwrap();
        assert_eq!(serde_json::from_str::<Properties>(&text).unwrap(), properties);
    }
}
