//! The roles, tablespaces and extensions that a statement of a dump needs on its server.
//!
//! Each form of statement in which pg_dump names such a thing is read as the server's grammar has it (gram.y), from its
//! first word on: words that look alike in other places name a column, a table or a function.

use super::cursor::Cursor;

/// What a statement names that belongs to the server, and not to the database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mentions {
    /// Roles, as they are called. None of the words that stand for one, such as `PUBLIC`.
    pub roles: Vec<String>,
    /// The ones of them to whom something is given, or whose default privileges are changed.
    pub owners: Vec<String>,
    /// The one of them that must be a superuser: the server lets nobody else own such a thing.
    pub superuser: Option<String>,
    /// The tablespace in which something is to lie.
    pub tablespace: Option<String>,
    /// The extension that it makes.
    pub extension: Option<Extension>,
}

/// An extension that a dump makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// The schema that it goes to, where the dump says so.
    pub schema: Option<String>,
    /// Its version, where the dump says so.
    pub version: Option<String>,
}

impl Mentions {
    /// What a statement names that begins with `head`.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        let length = head.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        let mut mentions = Self::default();
        let read = match &head[..length].to_ascii_lowercase()[..] {
            b"alter" => Self::alter,
            b"create" => Self::create,
            b"grant" | b"revoke" => Self::grant,
            b"set" => Self::set,
            _ => return mentions,
        };
        read(&mut mentions, &mut Cursor::new(head));
        mentions
    }

    fn alter(&mut self, cursor: &mut Cursor) {
        cursor.eat(&["alter"]);
        if cursor.eat(&["default", "privileges"]) {
            if cursor.eat(&["for", "role"]) || cursor.eat(&["for", "user"]) {
                self.owners = cursor.roles();
                self.roles.extend(self.owners.clone());
            }
            cursor.skip_past(&["grant", "revoke"]);
            return self.grantees(cursor);
        }
        if cursor.sees(&["role"]) || cursor.sees(&["user"]) && !cursor.sees(&["user", "mapping"]) {
            cursor.eat(&["role"]);
            cursor.eat(&["user"]);
            self.roles.extend(cursor.role());
            return;
        }
        let needs_superuser = OWNED_BY_SUPERUSERS.iter().any(|kind| cursor.sees(kind));
        skip_kind(cursor);
        cursor.eat(&["if", "exists"]);
        cursor.eat(&["only"]);
        cursor.skip_qualified_name();
        cursor.skip_parentheses();
        if cursor.eat(&["using"]) {
            cursor.skip_qualified_name();
        }
        if cursor.eat(&["owner", "to"]) {
            let owner = cursor.role();
            self.superuser = owner.clone().filter(|_| needs_superuser);
            self.owners.extend(owner.clone());
            self.roles.extend(owner);
        } else if cursor.eat(&["set", "tablespace"]) {
            self.tablespace = cursor.name();
        } else if cursor.eat(&["add", "constraint"]) {
            cursor.skip_past(&["key", "unique"]);
            cursor.skip_parentheses();
            self.tablespace_clause(cursor);
        }
    }

    fn create(&mut self, cursor: &mut Cursor) {
        cursor.eat(&["create"]);
        if cursor.eat(&["policy"]) {
            cursor.name();
            cursor.eat(&["on"]);
            cursor.skip_qualified_name();
            if cursor.eat(&["as"]) {
                cursor.name();
            }
            if cursor.eat(&["for"]) {
                cursor.name();
            }
            if cursor.eat(&["to"]) {
                self.roles.extend(cursor.roles());
            }
        } else if cursor.eat(&["user", "mapping"]) {
            cursor.eat(&["if", "not", "exists"]);
            if cursor.eat(&["for"]) {
                self.roles.extend(cursor.role());
            }
        } else if cursor.eat(&["schema"]) {
            cursor.eat(&["if", "not", "exists"]);
            if !cursor.sees(&["authorization"]) {
                cursor.name();
            }
            if cursor.eat(&["authorization"]) {
                self.roles.extend(cursor.role());
            }
        } else if cursor.eat(&["extension"]) {
            self.extension = extension(cursor);
        } else if cursor.eat(&["tablespace"]) {
            cursor.name();
            if cursor.eat(&["owner"]) {
                self.roles.extend(cursor.role());
            }
        } else if cursor.eat(&["database"]) {
            cursor.name();
            self.database_clauses(cursor);
        } else {
            self.create_relation(cursor);
        }
    }

    /// The clauses of a CREATE DATABASE. Their values are no key words.
    fn database_clauses(&mut self, cursor: &mut Cursor) {
        cursor.eat(&["with"]);
        while let Some(clause) = cursor.name() {
            if clause == "connection" {
                cursor.eat(&["limit"]);
            }
            cursor.eat_sign(b'=');
            match clause.as_str() {
                "owner" => self.roles.extend(cursor.role()),
                "tablespace" => self.tablespace = cursor.name(),
                _ if cursor.name_or_string().is_some() => {}
                _ => cursor.skip_operator(),
            }
        }
    }

    /// A table, an index or a materialized view.
    fn create_relation(&mut self, cursor: &mut Cursor) {
        for word in ["global", "local", "temporary", "temp", "unlogged", "unique", "foreign"] {
            cursor.eat(&[word]);
        }
        if cursor.eat(&["table"]) {
            cursor.eat(&["if", "not", "exists"]);
            cursor.skip_qualified_name();
            cursor.skip_parentheses();
            self.tablespace_clause(cursor);
        } else if cursor.eat(&["index"]) {
            cursor.eat(&["if", "not", "exists"]);
            cursor.skip_past(&["on"]);
            cursor.eat(&["only"]);
            cursor.skip_qualified_name();
            if cursor.eat(&["using"]) {
                cursor.name();
            }
            cursor.skip_parentheses();
            self.tablespace_clause(cursor);
        } else if cursor.eat(&["materialized", "view"]) {
            cursor.eat(&["if", "not", "exists"]);
            cursor.skip_qualified_name();
            cursor.skip_parentheses();
            if cursor.eat(&["using"]) {
                cursor.name();
            }
            if cursor.eat(&["with"]) {
                cursor.skip_parentheses();
            }
            if cursor.eat(&["tablespace"]) {
                self.tablespace = cursor.name();
            }
        }
    }

    /// The clause behind the columns of a table, an index or a constraint.
    fn tablespace_clause(&mut self, cursor: &mut Cursor) {
        // `as` begins the query, and `where` the condition, in which it is a name.
        if cursor.skip_past(&["tablespace", "as", "where"]) && cursor.is_past("tablespace") {
            self.tablespace = cursor.name();
        }
    }

    fn grant(&mut self, cursor: &mut Cursor) {
        self.grantees(cursor);
    }

    /// Whom something is granted, or from whom it is revoked. In the grant of a role to others that one is named, too.
    fn grantees(&mut self, cursor: &mut Cursor) {
        cursor.eat(&["grant"]);
        cursor.eat(&["revoke"]);
        let mut granted = cursor.clone();
        if !granted.skip_past(&["on"]) {
            let mut granted = cursor.clone();
            for option in ["admin", "inherit", "set"] {
                granted.eat(&[option, "option", "for"]);
            }
            self.roles.extend(granted.roles());
        }
        if cursor.skip_past(&["to", "from"]) {
            self.roles.extend(cursor.roles());
            if cursor.skip_past(&["granted"]) && cursor.eat(&["by"]) {
                self.roles.extend(cursor.role());
            }
        }
    }

    fn set(&mut self, cursor: &mut Cursor) {
        cursor.eat(&["set"]);
        cursor.eat(&["local"]);
        if cursor.eat(&["session", "authorization"]) || cursor.eat(&["role"]) {
            let is_word = cursor.sees(&["default"]) || cursor.sees(&["none"]);
            self.roles.extend(cursor.name_or_string().filter(|_| !is_word));
        } else if cursor.eat(&["default_tablespace"]) && (cursor.eat_sign(b'=') || cursor.eat(&["to"])) {
            self.tablespace = cursor.name_or_string().filter(|name| !name.is_empty());
        }
    }
}

/// What only a superuser may own: EVENT TRIGGER and FOREIGN DATA WRAPPER in every version, a SUBSCRIPTION up to 15.
const OWNED_BY_SUPERUSERS: [&[&str]; 3] =
    [&["event", "trigger"], &["foreign", "data", "wrapper"], &["subscription"]];

/// The kinds of object that have more than one word, or one behind which a name could be taken for a second.
const KINDS: [&[&str]; 18] = [
    &["foreign", "table"],
    &["foreign", "data", "wrapper"],
    &["materialized", "view"],
    &["text", "search", "configuration"],
    &["text", "search", "dictionary"],
    &["text", "search", "parser"],
    &["text", "search", "template"],
    &["event", "trigger"],
    &["procedural", "language"],
    &["trusted", "language"],
    &["large", "object"],
    &["access", "method"],
    &["user", "mapping", "for"],
    &["operator", "class"],
    &["operator", "family"],
    &["table"],
    &["operator"],
    &["schema"],
];

/// Goes past what says of which kind an object is.
pub(super) fn skip_kind(cursor: &mut Cursor) {
    let kind = KINDS.iter().find(|kind| cursor.sees(kind) && !cursor.is_qualified(kind.len()));
    match kind {
        Some(kind) => drop(cursor.eat(kind)),
        None => drop(cursor.name()),
    }
}

fn extension(cursor: &mut Cursor) -> Option<Extension> {
    cursor.eat(&["if", "not", "exists"]);
    let (name, mut schema, mut version) = (cursor.name()?, None, None);
    cursor.eat(&["with"]);
    loop {
        match () {
            () if cursor.eat(&["schema"]) => schema = cursor.name(),
            () if cursor.eat(&["version"]) => version = cursor.name_or_string(),
            () if cursor.eat(&["cascade"]) => {}
            () => return Some(Extension { name, schema, version }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(statement: &str) -> Vec<String> {
        Mentions::of(statement.as_bytes()).roles
    }

    #[test]
    fn the_roles_that_statements_name_are_found() {
        for (statement, expected) in [
            ("ALTER TABLE public.owner OWNER TO \"Odd role\";", &["Odd role"][..]),
            ("ALTER TABLE IF EXISTS ONLY owner OWNER TO a;", &["a"]),
            ("ALTER FUNCTION public.f(owner integer, \"to\" text) OWNER TO a;", &["a"]),
            ("ALTER AGGREGATE public.g(*) OWNER TO a;", &["a"]),
            ("ALTER OPERATOR public.=== (integer, NONE) OWNER TO a;", &["a"]),
            ("ALTER OPERATOR class.+ (integer, integer) OWNER TO a;", &["a"]),
            ("ALTER OPERATOR CLASS public.oc USING btree OWNER TO a;", &["a"]),
            ("ALTER OPERATOR FAMILY public.oc USING btree OWNER TO a;", &["a"]),
            ("ALTER TEXT SEARCH DICTIONARY public.d OWNER TO a;", &["a"]),
            ("ALTER MATERIALIZED VIEW public.v OWNER TO a;", &["a"]),
            ("ALTER PROCEDURAL LANGUAGE l OWNER TO a;", &["a"]),
            ("ALTER LARGE OBJECT 16415 OWNER TO a;", &["a"]),
            ("ALTER EVENT TRIGGER e OWNER TO a;", &["a"]),
            ("ALTER DATABASE d OWNER TO a;", &["a"]),
            ("ALTER ROLE a IN DATABASE d SET work_mem TO '6MB';", &["a"]),
            ("ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA s GRANT SELECT ON TABLES TO b;", &["a", "b"]),
            ("ALTER DEFAULT PRIVILEGES FOR ROLE a REVOKE ALL ON FUNCTIONS FROM PUBLIC;", &["a"]),
            ("GRANT SELECT(a),INSERT(\"to\") ON TABLE s.t TO a, \"b c\" WITH GRANT OPTION;", &["a", "b c"]),
            ("GRANT SELECT ON TABLE t TO pg_monitor, GROUP a;", &["pg_monitor", "a"]),
            ("GRANT SELECT ON TABLE s.to TO a GRANTED BY b;", &["a", "b"]),
            ("GRANT ALL ON FUNCTION f(a integer) TO a;", &["a"]),
            ("GRANT a TO b WITH INHERIT TRUE GRANTED BY c;", &["a", "b", "c"]),
            ("REVOKE ADMIN OPTION FOR a FROM b;", &["a", "b"]),
            ("REVOKE ALL ON SCHEMA public FROM PUBLIC;", &[]),
            ("REVOKE GRANT OPTION FOR SELECT ON TABLE t FROM a CASCADE;", &["a"]),
            ("CREATE POLICY p ON s.t AS RESTRICTIVE FOR SELECT TO a, b USING ((x = 1));", &["a", "b"]),
            ("CREATE SCHEMA s AUTHORIZATION a;", &["a"]),
            ("CREATE SCHEMA AUTHORIZATION a;", &["a"]),
            ("CREATE USER MAPPING FOR a SERVER s OPTIONS (password 'for x');", &["a"]),
            ("CREATE USER MAPPING FOR \"public\" SERVER s;", &[]),
            ("CREATE DATABASE d WITH TEMPLATE = owner CONNECTION LIMIT = -1 OWNER = a;", &["a"]),
            ("CREATE TABLESPACE fast OWNER a LOCATION '/x';", &["a"]),
            ("SET SESSION AUTHORIZATION a;", &["a"]),
            ("SET SESSION AUTHORIZATION 'it''s a';", &["it's a"]),
        ] {
            assert_eq!(roles(statement), expected, "{statement}");
        }
    }

    #[test]
    fn words_that_look_alike_name_no_role() {
        for statement in [
            "CREATE DEFAULT CONVERSION c FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;",
            "CREATE CONVERSION public.c FOR 'LATIN1' TO 'UTF8' FROM f;",
            "CREATE CAST (text AS public.owner) WITH FUNCTION public.to(text);",
            "CREATE TRANSFORM FOR integer LANGUAGE l (FROM SQL WITH FUNCTION f(internal));",
            "CREATE TABLE t (owner text, \"to\" int);",
            "CREATE TABLE p PARTITION OF t FOR VALUES FROM (1) TO (10);",
            "CREATE VIEW v AS SELECT 1 FROM mapping FOR UPDATE;",
            "CREATE RULE r AS ON UPDATE TO t DO INSTEAD NOTHING;",
            "CREATE POLICY p ON to USING ((x = owner));",
            "CREATE FUNCTION f(\"to\" integer) RETURNS integer LANGUAGE sql SET role TO 'x' AS $$ GRANT a TO b $$;",
            "CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION authorization_for_role;",
            "ALTER TABLE ONLY t ATTACH PARTITION p FOR VALUES FROM (1) TO (10);",
            "ALTER TABLE t RENAME COLUMN owner TO a;",
            "ALTER TABLE t ALTER COLUMN owner SET DEFAULT 'x';",
            "ALTER TYPE t RENAME VALUE 'a' TO 'b';",
            "ALTER TEXT SEARCH CONFIGURATION c ADD MAPPING FOR word WITH simple;",
            "SET SESSION AUTHORIZATION DEFAULT;",
            "SET ROLE NONE;",
            "INSERT INTO t VALUES ('x OWNER TO b');",
            "COMMENT ON TABLE t IS 'GRANT a TO b';",
        ] {
            assert_eq!(Mentions::of(statement.as_bytes()), Mentions::default(), "{statement}");
        }
    }

    #[test]
    fn what_only_a_superuser_may_own_is_told() {
        let superuser = |statement: &str| Mentions::of(statement.as_bytes()).superuser;
        for kind in ["EVENT TRIGGER", "FOREIGN DATA WRAPPER", "SUBSCRIPTION"] {
            assert_eq!(superuser(&format!("ALTER {kind} x OWNER TO a;")), Some("a".into()), "{kind}");
        }
        for kind in ["TABLE", "FOREIGN TABLE", "SERVER", "PUBLICATION", "LANGUAGE"] {
            assert_eq!(superuser(&format!("ALTER {kind} x OWNER TO a;")), None, "{kind}");
        }
    }

    #[test]
    fn tablespaces_are_found_where_one_is_named() {
        for (statement, expected) in [
            ("SET default_tablespace = fast;", Some("fast")),
            ("SET default_tablespace = \"Fast 1\";", Some("Fast 1")),
            ("SET default_tablespace = '';", None),
            ("SET default_table_access_method = heap;", None),
            ("CREATE TABLE tablespace (tablespace text) TABLESPACE fast;", Some("fast")),
            ("CREATE UNLOGGED TABLE t (a int) PARTITION BY RANGE (a) TABLESPACE fast;", Some("fast")),
            (
                "CREATE UNIQUE INDEX i ON s.t USING btree (tablespace) WITH (fillfactor='70') TABLESPACE fast;",
                Some("fast"),
            ),
            ("CREATE INDEX tablespace ON ONLY tablespace USING btree (a) WHERE (tablespace > 1);", None),
            ("CREATE MATERIALIZED VIEW v TABLESPACE fast AS SELECT 1;", Some("fast")),
            ("CREATE MATERIALIZED VIEW v AS SELECT f(1) tablespace;", None),
            (
                "ALTER TABLE ONLY t ADD CONSTRAINT c PRIMARY KEY (id) USING INDEX TABLESPACE fast;",
                Some("fast"),
            ),
            ("ALTER TABLE ONLY t SET TABLESPACE fast;", Some("fast")),
            ("ALTER INDEX s.i SET TABLESPACE fast;", Some("fast")),
            ("ALTER MATERIALIZED VIEW v SET TABLESPACE fast;", Some("fast")),
            (
                "CREATE DATABASE d WITH TEMPLATE = template0 ENCODING = 'UTF8' TABLESPACE = fast;",
                Some("fast"),
            ),
        ] {
            assert_eq!(Mentions::of(statement.as_bytes()).tablespace.as_deref(), expected, "{statement}");
        }
    }

    #[test]
    fn extensions_are_found_with_schema_and_version() {
        let extension = |statement: &str| Mentions::of(statement.as_bytes()).extension.unwrap();
        let found = extension("CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\" WITH SCHEMA \"My schema\";");
        assert_eq!((found.name.as_str(), found.schema.as_deref()), ("uuid-ossp", Some("My schema")));
        let found = extension("CREATE EXTENSION schema VERSION '1.2' CASCADE;");
        assert_eq!(
            (found.name.as_str(), found.schema, found.version.as_deref()),
            ("schema", None, Some("1.2"))
        );
    }

    #[test]
    fn what_breaks_off_is_no_trouble() {
        let statement =
            "ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA s GRANT SELECT(a) ON TABLES TO \"b\", c;";
        let database = "CREATE DATABASE d WITH TEMPLATE = template0 ENCODING = 'UTF8' TABLESPACE = fast;";
        for text in [statement, database, "SET SESSION AUTHORIZATION 'it''s';"] {
            for end in 0..text.len() {
                let _ = Mentions::of(&text.as_bytes()[..end]);
            }
        }
    }
}
