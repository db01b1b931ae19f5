//! All that is compared of a database.

use std::fmt::Write;
use std::fs;

use crate::harness::*;

/// Everything of a database that a restore has to bring back: its row of `pg_database` but for numbers that are new in
/// each, its grants, settings, comment and labels, and the
/// whole pg_dump.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub properties: [String; 5],
    pub dump: String,
}

const PARTS: [&str; 5] = ["row of pg_database", "grants", "settings", "comment", "security labels"];

/// [`PARTS`], for the database `:'name'`. The order of grants and of settings does not count.
const QUERIES: [&str; 5] = [
    "SELECT (to_jsonb(d) - '{oid,datname,datdba,datfrozenxid,datminmxid,datacl,dattablespace}'::text[])
        || jsonb_build_object('owner', pg_get_userbyid(datdba), 'tablespace', spcname)
     FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace WHERE datname = :'name'",
    "SELECT concat_ws('|', a.grantor::regrole, CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
        a.privilege_type, a.is_grantable) COLLATE \"C\"
     FROM pg_database d, aclexplode(coalesce(datacl, acldefault('d', datdba))) a
     WHERE datname = :'name' ORDER BY 1",
    "SELECT concat_ws('|', CASE setrole WHEN 0 THEN 'ALL' ELSE setrole::regrole::text END, to_json(setting)) COLLATE \"C\"
     FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase, unnest(setconfig) AS setting
     WHERE datname = :'name' ORDER BY 1",
    "SELECT to_json(shobj_description(oid, 'pg_database')) FROM pg_database WHERE datname = :'name'",
    "SELECT provider, to_json(label) FROM pg_seclabels s JOIN pg_database d ON d.oid = objoid
     WHERE objtype = 'database' AND datname = :'name' ORDER BY 1",
];

/// Settings of a session that a database's own must not take the place of.
const CALM: &str = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 \
                    -c default_transaction_read_only=off -c search_path=public";

/// A program of the server's own version, by name, that connects to its server.
pub fn client(server: &Cluster, store: &Store, program: &str) -> Cli {
    let cli = Cli::of_program(program_directory(server.major()).join(program), store);
    let cli = cli.env("PGHOST", "127.0.0.1").env("PGPORT", server.port().to_string()).env("PGOPTIONS", CALM);
    cli.env("PGUSER", cluster::LOGIN).env("PGPASSWORD", server.password())
}

/// Statements that whatever a database is set to does not disturb.
pub fn calmly(server: &Cluster, store: &Store, database: &str, sql: &str) {
    let cli = client(server, store, "psql").env("PGDATABASE", database).env("PGCLIENTENCODING", "UTF8");
    cli.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql]).run().succeeded();
}

impl State {
    /// That of a database now.
    pub fn of(server: &Cluster, store: &Store, database: &str) -> Self {
        let properties = properties(server, database);
        let path = store.root().join(format!("state-{}.sql", server.port()));
        let dump = client(server, store, "pg_dump").env("PGDATABASE", database);
        dump.args(["-f".as_ref(), path.as_os_str()]).run().succeeded();
        let bytes = fs::read(&path).unwrap();
        // Whatever its encoding is, no two bytes may look the same.
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|error| error.into_bytes().iter().map(|byte| char::from(*byte)).collect());
        Self { properties, dump: without_volatile_lines(&text) }
    }

    /// These contents, with the properties that another database has now.
    pub fn with_properties_of(&self, server: &Cluster, database: &str) -> Self {
        Self { properties: properties(server, database), dump: self.dump.clone() }
    }

    /// What differs from what should be, in a few lines for a reader; nothing if nothing does.
    pub fn difference(&self, expected: &Self) -> Option<String> {
        let mut text = String::new();
        let pairs = self.properties.iter().zip(&expected.properties);
        for ((now, expected), part) in pairs.zip(PARTS).filter(|((now, expected), _)| now != expected) {
            let _ = write!(text, "\n{part}:{}", first_difference(now, expected));
        }
        if self.dump != expected.dump {
            let _ = write!(text, "\npg_dump:{}", first_difference(&self.dump, &expected.dump));
        }
        (!text.is_empty()).then_some(text)
    }
}

/// The [`PARTS`] of a database now.
fn properties(server: &Cluster, database: &str) -> [String; 5] {
    const END: &str = "---- end of part\n";
    let ended = QUERIES.map(|query| format!("{query};\n\\echo ---- end of part\n"));
    let text = server.sql("postgres", &format!("\\set name {}\n{}", psql_quoted(database), ended.concat()));
    let text = format!("{text}\n");
    let parts: Vec<String> = text.split(END).map(|part| part.trim_matches('\n').to_owned()).collect();
    parts.first_chunk().unwrap_or_else(|| panic!("{database:?}: {text}")).clone()
}

/// The first lines from where two texts differ.
fn first_difference(now: &str, expected: &str) -> String {
    let (now, expected): (Vec<&str>, Vec<&str>) = (now.lines().collect(), expected.lines().collect());
    let same = now.iter().zip(&expected).take_while(|(a, b)| a == b).count();
    let some = |lines: &[&str]| lines.iter().skip(same).take(5).map(|line| format!("\n    {line}")).collect();
    let (is, was): (String, String) = (some(&now), some(&expected));
    format!("\n  line {} was:{was}\n  and is:{is}", same + 1)
}

/// A name as psql's own commands take it.
fn psql_quoted(name: &str) -> String {
    format!("'{}'", name.replace('\\', "\\\\").replace('\'', "''"))
}
