//! Makes what a dump takes for granted on its server: the roles and tablespaces that it names.

use std::collections::{BTreeSet, HashSet};

use super::cluster::in_place_tablespace;
use crate::postgres::quote::identifier;
use crate::sql::{Edit, Editor, Refusal, Token, tokens};

/// Puts the making of a role or tablespace in front of the first statement that names it.
#[derive(Debug)]
pub struct Providing {
    roles: HashSet<String>,
    superusers: HashSet<String>,
    tablespaces: HashSet<String>,
}

impl Providing {
    /// For a server that has nothing but the role `own`.
    pub fn new(own: &str) -> Self {
        let only = |name: &str| HashSet::from([name.to_owned()]);
        Self { roles: only(own), superusers: only(own), tablespaces: only("pg_default") }
    }
}

impl Editor for Providing {
    fn edit(&mut self, head: &[u8]) -> Result<Edit, Refusal> {
        if head.starts_with(b"\\") {
            // psql obeys no command in a dump; these two would free it.
            return match head.starts_with(b"\\restrict ") || head.starts_with(b"\\unrestrict ") {
                true => Ok(Edit::Drop),
                false => Err(Refusal("has a command in it that pg_dump does not write".into())),
            };
        }
        if !is_telling(head) {
            return Ok(Edit::Keep);
        }
        let tokens = tokens(head);
        let mut orders = String::new();
        if let [set, what, equals, name, ..] = &tokens[..]
            && set.is("set")
            && what.is("default_tablespace")
            && equals.is_sign(b'=')
            && let Some(name) = name.name()
            && self.tablespaces.insert(name.to_owned())
        {
            orders += &in_place_tablespace(name);
        }
        let must_be_superusers = owned_by_superusers(&tokens);
        for name in roles(&tokens) {
            if self.roles.insert(name.clone()) {
                orders += &format!("CREATE ROLE {} NOLOGIN;\n", identifier(&name));
            }
            if must_be_superusers && self.superusers.insert(name.clone()) {
                orders += &format!("ALTER ROLE {} SUPERUSER;\n", identifier(&name));
            }
        }
        Ok(match orders.is_empty() {
            true => Edit::Keep,
            false => Edit::Replace([orders.as_bytes(), head].concat()),
        })
    }
}

/// Collects the roles that a dump names.
#[derive(Debug, Default)]
pub struct NamedRoles(BTreeSet<String>);

impl NamedRoles {
    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }

    /// Takes those of a statement.
    pub fn note(&mut self, head: &[u8]) {
        if is_telling(head) {
            self.0.extend(roles(&tokens(head)));
        }
    }
}

impl Editor for NamedRoles {
    fn edit(&mut self, head: &[u8]) -> Result<Edit, Refusal> {
        self.note(head);
        Ok(Edit::Drop)
    }
}

/// Whether a statement may name a role or a tablespace.
fn is_telling(head: &[u8]) -> bool {
    let length = head.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    matches!(&head[..length].to_ascii_lowercase()[..], b"alter" | b"create" | b"grant" | b"revoke" | b"set")
}

/// Whether only a superuser may own what the statement is about.
fn owned_by_superusers(tokens: &[Token]) -> bool {
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|token| token.is(word));
    is(0, "alter")
        && (is(1, "event") && is(2, "trigger") || is(1, "foreign") && is(2, "data") || is(1, "subscription"))
}

/// Words that stand for roles without being any.
const NO_ROLES: [&str; 6] = ["public", "current_user", "session_user", "current_role", "group", "default"];

/// The roles that a statement names, by the words in front of them.
fn roles(tokens: &[Token]) -> Vec<String> {
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|token| token.is(word));
    let mut roles = Vec::new();
    let grants = is(0, "grant") || is(0, "revoke") || is(1, "default");
    let is_policy = is(1, "policy");
    for at in 1..tokens.len() {
        let lists = (grants && (is(at, "to") || is(at, "from"))) || (is_policy && is(at, "to"));
        let names_one = is(at, "to") && is(at - 1, "owner")
            || is(at, "authorization")
            || is(at, "role") && is(at - 1, "for")
            || is(at, "for") && is(at - 1, "mapping") && is(1, "user");
        if lists {
            roles.extend(list(&tokens[at + 1..]));
        } else if names_one {
            roles.extend(list(&tokens[at + 1..]).into_iter().take(1));
        }
    }
    roles
}

/// Names parted by commas.
fn list(tokens: &[Token]) -> Vec<String> {
    let mut names = Vec::new();
    for pair in tokens.chunks(2) {
        let Some(name) = pair[0].name() else { break };
        // Every server has those that begin so, and nobody can make one.
        let is_there = name.starts_with("pg_") || NO_ROLES.iter().any(|word| pair[0].is(word));
        names.extend(Some(name.to_owned()).filter(|_| !is_there));
        if !pair.get(1).is_some_and(|token| token.is_sign(b',')) {
            break;
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(statement: &str) -> Vec<String> {
        roles(&tokens(statement.as_bytes()))
    }

    #[test]
    fn the_roles_that_statements_name_are_found() {
        for (statement, expected) in [
            ("ALTER TABLE public.owner OWNER TO \"Odd role\";", &["Odd role"][..]),
            ("GRANT SELECT(a),INSERT ON TABLE t TO a, \"b c\" WITH GRANT OPTION;", &["a", "b c"]),
            ("REVOKE ALL ON SCHEMA public FROM PUBLIC;", &[]),
            ("GRANT SELECT ON TABLE t TO pg_monitor, a;", &["a"]),
            ("ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA s GRANT SELECT ON TABLES TO b;", &["a", "b"]),
            ("CREATE POLICY p ON t FOR SELECT TO a, b USING ((x = 1));", &["a", "b"]),
            ("CREATE POLICY p ON t USING ((x = to));", &[]),
            ("CREATE SCHEMA s AUTHORIZATION a;", &["a"]),
            ("CREATE USER MAPPING FOR a SERVER s;", &["a"]),
            ("CREATE VIEW v AS SELECT 1 FROM mapping FOR UPDATE;", &[]),
            ("SET SESSION AUTHORIZATION a;", &["a"]),
            ("SET SESSION AUTHORIZATION DEFAULT;", &[]),
            ("ALTER LARGE OBJECT 5 OWNER TO a;", &["a"]),
            ("CREATE TABLE t (owner text, \"to\" int);", &[]),
            ("ALTER TYPE t RENAME VALUE 'a' TO 'b';", &[]),
        ] {
            assert_eq!(named(statement), expected, "{statement}");
        }
    }

    #[test]
    fn each_role_is_made_once_and_before_it_is_named() {
        let mut providing = Providing::new("postgres");
        let mut edited = |statement: &str| match providing.edit(statement.as_bytes()).unwrap() {
            Edit::Keep => statement.to_owned(),
            Edit::Replace(text) => String::from_utf8(text).unwrap(),
            Edit::Drop => String::new(),
        };
        let owner = "ALTER TABLE t OWNER TO a;";
        assert_eq!(edited(owner), format!("CREATE ROLE \"a\" NOLOGIN;\n{owner}"));
        assert_eq!(edited(owner), owner);
        let trigger = "ALTER EVENT TRIGGER e OWNER TO a;";
        assert_eq!(edited(trigger), format!("ALTER ROLE \"a\" SUPERUSER;\n{trigger}"));
        assert_eq!(
            edited("ALTER EVENT TRIGGER e OWNER TO postgres;"),
            "ALTER EVENT TRIGGER e OWNER TO postgres;"
        );
        assert!(edited("SET default_tablespace = fast;").contains("CREATE TABLESPACE \"fast\" LOCATION ''"));
        assert_eq!(edited("SET default_tablespace = '';"), "SET default_tablespace = '';");
        assert_eq!(
            edited("INSERT INTO t VALUES ('x OWNER TO b');"),
            "INSERT INTO t VALUES ('x OWNER TO b');"
        );
    }
}
