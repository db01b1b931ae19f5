//! A dry run tells the roles that a dump names, whatever it is wrapped in.

use crate::dumps_from_elsewhere::{FORMATS, dump};
use crate::harness::*;

/// What names a role is told by the kind of statement, and large objects have owners, too.
fn a_dry_run_names_the_roles_of_every_kind_of_statement(server: &'static Cluster) {
    let (other, store) = (Cluster::start(server.major()), Store::new());
    let database = server.database("roles");
    let role = |what: &str| format!("{what}_of_{}", database.name);
    let kinds =
        ["owner", "grantee", "lo owner", "lo reader", "policy", "mapped", "default", "future", "grantor"];
    let names = kinds.map(role);
    let [owner, grantee, lo, reader, policy, mapped, default, future, grantor] =
        names.each_ref().map(|name| quoted(name));
    for name in &names {
        server.sql("postgres", &format!("CREATE ROLE {}", quoted(name)));
    }
    database.fill(5);
    database.sql(&format!(
        "ALTER TABLE orders OWNER TO {owner}; GRANT SELECT (id) ON customers TO {grantee};
         SELECT lo_create(4711), lo_create(4712); ALTER LARGE OBJECT 4711 OWNER TO {lo};
         GRANT SELECT ON LARGE OBJECT 4712 TO {reader};
         CREATE POLICY p ON customers FOR SELECT TO {policy};
         CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE USER MAPPING FOR {mapped} SERVER s;
         ALTER DEFAULT PRIVILEGES FOR ROLE {default} GRANT SELECT ON TABLES TO {future};
         GRANT SELECT ON customers TO {grantor} WITH GRANT OPTION;
         SET ROLE {grantor}; GRANT SELECT ON customers TO {grantee}; RESET ROLE;
         CREATE CONVERSION c FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
         CREATE DEFAULT CONVERSION d FOR 'LATIN2' TO 'UTF8' FROM iso8859_to_utf8;
         CREATE TABLE \"no role\" (\"owner\" text, \"to\" text); CREATE INDEX ON \"no role\" (\"owner\", \"to\");
         CREATE RULE r AS ON UPDATE TO \"no role\" DO INSTEAD NOTHING;
         CREATE CAST (orders AS customers) WITH INOUT;"
    ));
    for format in FORMATS {
        let file = dump(&store, &database, server, format, &[]);
        let refused =
            Cli::restore(&other, &store, &file).args(["anything", "--dry-run"]).run().exited_with(1);
        for name in &names {
            assert!(refused.text().contains(name.as_str()), "{format}: {name} is not named in {refused}");
        }
        let line = refused.text();
        let named = line.rsplit("does not have: ").next().and_then(|rest| rest.split(';').next()).unwrap();
        assert_eq!(named.split(", ").count(), names.len(), "{format}: {named}");
    }
    drop(database);
    for name in &names {
        server.sql("postgres", &format!("DROP ROLE {}", quoted(name)));
    }
}
on_both_servers!(a_dry_run_names_the_roles_of_every_kind_of_statement);
