//! Finds statements that only superusers may run, changes of owners, and collations.

use memchr::memmem;
use serde::{Deserialize, Serialize};

use crate::formats::sql::{HEAD, Kind, Token, tokens};

/// The kind of object that a statement creates, if only a superuser may create it.
pub fn kind_for_superusers(head: &[u8]) -> Option<&'static str> {
    let begins = |words: &str| head.starts_with(words.as_bytes());
    if begins("CREATE FUNCTION ") || begins("CREATE PROCEDURE ") {
        routine(head)
    } else if begins("CREATE TYPE ") {
        is_base_type(head).then_some("base types")
    } else if begins("CREATE OPERATOR CLASS ") || begins("CREATE OPERATOR FAMILY ") {
        Some("operator classes")
    } else if begins("CREATE ACCESS METHOD ") {
        Some("access methods")
    } else if begins("CREATE TEXT SEARCH PARSER ") || begins("CREATE TEXT SEARCH TEMPLATE ") {
        Some("text search parsers and templates")
    } else if begins("CREATE CAST ") {
        has_words(&tokens(head), &["without", "function"]).then_some("casts without a function")
    } else if begins("CREATE PUBLICATION ") {
        has_words(&tokens(head), &["for", "all", "tables"]).then_some("publications of all tables")
    } else if begins("ALTER PUBLICATION ") {
        has_words(&tokens(head), &["add", "tables", "in", "schema"]).then_some("publications of schemas")
    } else {
        None
    }
}

/// The options of a function precede its body.
fn routine(head: &[u8]) -> Option<&'static str> {
    let tokens = tokens(&head[..head.len().min(HEAD)]);
    let options = tokens.iter().position(|token| token.is("language")).map_or(&[][..], |at| &tokens[at..]);
    let body = options.iter().position(|token| token.is("as") || token.is("return") || token.is("begin"));
    let options = &options[..body.unwrap_or(options.len())];
    let language = options.get(1).and_then(Token::name).unwrap_or_default();
    if language == "c" || language == "internal" {
        Some("functions in C")
    } else if options.iter().any(|token| token.is("leakproof")) {
        Some("leakproof functions")
    } else {
        None
    }
}

/// `CREATE TYPE name (INPUT = ...)`.
fn is_base_type(head: &[u8]) -> bool {
    let tokens = tokens(head);
    let open = tokens.iter().position(|token| token.is_sign(b'('));
    let is_of_kind = |at: usize| tokens[..at].iter().any(|token| token.is("as"));
    open.is_some_and(|at| !is_of_kind(at) && has_words(&tokens[at..], &["input"]))
}

fn has_words(tokens: &[Token], words: &[&str]) -> bool {
    tokens.windows(words.len()).any(|window| window.iter().zip(words).all(|(token, word)| token.is(word)))
}

/// A statement that makes a role the owner of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Given {
    /// The schema of the object, or the schema that is the object.
    pub schema: String,
    /// Whether the object is a schema.
    pub is_schema: bool,
    /// The new owner.
    pub owner: String,
}

impl Given {
    /// Parses `ALTER ... OWNER TO`. `None` for objects outside schemas.
    pub fn of(head: &[u8]) -> Option<Self> {
        if !head.starts_with(b"ALTER ") {
            return None;
        }
        let tokens = tokens(head);
        let at = tokens.windows(2).position(|window| window[0].is("owner") && window[1].is("to"))?;
        let owner = tokens.get(at + 2)?.name()?.to_owned();
        let is_schema = tokens[1].is("schema");
        let name = if is_schema {
            tokens.get(2)?
        } else {
            let end = tokens[..at].iter().position(|token| token.is_sign(b'(')).unwrap_or(at);
            let dot = tokens[..end].iter().position(|token| token.is_sign(b'.'))?;
            tokens.get(dot.checked_sub(1)?)?
        };
        Some(Self { schema: name.name()?.to_owned(), is_schema, owner })
    }
}

/// The options in a CREATE COLLATION.
pub fn collation_options(head: &[u8]) -> Option<String> {
    if !head.starts_with(b"CREATE COLLATION ") {
        return None;
    }
    let tokens = tokens(head);
    let open = tokens.iter().find(|token| token.is_sign(b'('))?;
    let close = tokens.iter().rfind(|token| token.is_sign(b')'))?;
    let options = head.get(open.at.end..close.at.start)?;
    String::from_utf8(options.to_vec()).ok().filter(|options| !options.contains('\n'))
}

/// The collations of `pg_catalog` that a relation, domain or type uses.
pub fn collations_of_server(head: &[u8]) -> Vec<String> {
    let is_definition = head.starts_with(b"CREATE ") && !head.starts_with(b"CREATE FUNCTION ");
    if !is_definition || memmem::find(head, b"COLLATE pg_catalog.").is_none() {
        return Vec::new();
    }
    let tokens = tokens(head);
    let named = tokens.windows(4).filter_map(|window| match window {
        [collate, catalog, dot, name] if collate.is("collate") && dot.is_sign(b'.') => match &name.kind {
            Kind::Word(name) | Kind::Name(name) if catalog.is("pg_catalog") => Some(name.clone()),
            _ => None,
        },
        _ => None,
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_superusers_may_make_is_told_from_what_looks_like_it() {
        for (statement, kind) in [
            (
                "CREATE FUNCTION f(integer) RETURNS integer\n    LANGUAGE c STRICT\n    AS 'x', 'y';",
                "functions in C",
            ),
            ("CREATE FUNCTION f() RETURNS integer LANGUAGE internal AS 'y';", "functions in C"),
            (
                "CREATE FUNCTION f() RETURNS int LANGUAGE sql LEAKPROOF AS $$ SELECT 1 $$;",
                "leakproof functions",
            ),
            ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ leakproof $$;", ""),
            ("CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN leakproof;", ""),
            ("CREATE PROCEDURE f(language integer) LANGUAGE plpgsql AS 'leakproof';", ""),
            ("CREATE TYPE t (\n    INTERNALLENGTH = 4,\n    INPUT = f\n);", "base types"),
            ("CREATE TYPE t AS (\n input integer\n);", ""),
            ("CREATE TYPE t AS ENUM ('input');", ""),
            ("CREATE OPERATOR CLASS c FOR TYPE t USING btree AS OPERATOR 1 <;", "operator classes"),
            ("CREATE CAST (a AS b) WITHOUT FUNCTION AS IMPLICIT;", "casts without a function"),
            ("CREATE CAST (a AS b) WITH FUNCTION without(a);", ""),
            ("CREATE PUBLICATION p FOR ALL TABLES WITH (publish = 'insert');", "publications of all tables"),
            ("CREATE PUBLICATION p WITH (publish = 'insert');", ""),
            ("ALTER PUBLICATION p ADD TABLES IN SCHEMA s;", "publications of schemas"),
            ("ALTER PUBLICATION p ADD TABLE ONLY s.t;", ""),
        ] {
            assert_eq!(kind_for_superusers(statement.as_bytes()).unwrap_or_default(), kind, "{statement}");
        }
    }

    #[test]
    fn what_is_given_to_a_role_is_told_with_its_schema() {
        for (statement, expected) in [
            ("ALTER TABLE own.rows OWNER TO a;", Some(("own", false, "a"))),
            ("ALTER FUNCTION \"o.n\".f(x other.t) OWNER TO \"B\";", Some(("o.n", false, "B"))),
            ("ALTER OPERATOR own.=== (integer, integer) OWNER TO a;", Some(("own", false, "a"))),
            ("ALTER TEXT SEARCH DICTIONARY own.d OWNER TO a;", Some(("own", false, "a"))),
            ("ALTER SCHEMA own OWNER TO a;", Some(("own", true, "a"))),
            ("ALTER LARGE OBJECT 5 OWNER TO a;", None),
            ("ALTER EVENT TRIGGER e OWNER TO a;", None),
            ("ALTER TABLE ONLY own.rows ADD CONSTRAINT c CHECK (true);", None),
        ] {
            let expected = expected.map(|(schema, is_schema, owner): (&str, bool, &str)| Given {
                schema: schema.into(),
                is_schema,
                owner: owner.into(),
            });
            assert_eq!(Given::of(statement.as_bytes()), expected, "{statement}");
        }
    }

    #[test]
    fn the_locales_that_a_dump_needs_are_found() {
        let of = |text: &str| collation_options(text.as_bytes());
        assert_eq!(
            of("CREATE COLLATION \"a (b\" (provider = icu, locale = 'de-u-co-phonebk');").as_deref(),
            Some("provider = icu, locale = 'de-u-co-phonebk'")
        );
        assert_eq!(of("CREATE TABLE t (x int);"), None);
        let table = "CREATE TABLE t (a text COLLATE pg_catalog.\"de_DE.utf8\" DEFAULT 'COLLATE pg_catalog.x', \
                     b text COLLATE pg_catalog.\"C\", c text COLLATE public.x);";
        assert_eq!(collations_of_server(table.as_bytes()), ["de_DE.utf8", "C"]);
        assert!(collations_of_server(b"CREATE FUNCTION f() AS $$ COLLATE pg_catalog.x $$;").is_empty());
    }
}
