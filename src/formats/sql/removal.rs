//! Recognises the statements at the start of a dump made with `--clean`.

use super::cursor::Cursor;
use super::mentions::skip_kind;

/// Whether a statement removes something, as `pg_dump --clean` writes before all others. That includes replacing a
/// view that others depend on by an empty dummy.
#[must_use]
pub fn removes(head: &[u8]) -> bool {
    const UNLINK: &[u8] = b"SELECT pg_catalog.lo_unlink(";
    let mut cursor = Cursor::new(&head[..head.len().min(1024)]);
    head.starts_with(UNLINK)
        || cursor.eat(&["drop"])
        || cursor.eat(&["update", "pg_catalog"]) && cursor.eat_sign(b'.') && cursor.eat(&["pg_database"])
        || alters_away(cursor.clone())
        || makes_dummy_view(cursor)
}

/// Whether it drops the schema `public`, which every new database has.
#[must_use]
pub fn drops_public_schema(head: &[u8]) -> bool {
    let mut cursor = Cursor::new(head);
    let drops = cursor.eat(&["drop", "schema"]);
    cursor.eat(&["if", "exists"]);
    drops && cursor.name().is_some_and(|name| name == "public")
}

/// Whether it creates the schema `public`. That fails in a new database, which already has it.
#[must_use]
pub fn makes_public_schema(head: &[u8]) -> bool {
    let mut cursor = Cursor::new(head);
    cursor.eat(&["create", "schema"]) && cursor.name().is_some_and(|name| name == "public")
}

fn alters_away(mut cursor: Cursor) -> bool {
    if !cursor.eat(&["alter"]) {
        return false;
    }
    skip_kind(&mut cursor);
    cursor.eat(&["if", "exists"]);
    cursor.eat(&["only"]);
    cursor.skip_qualified_name();
    if cursor.eat(&["alter", "column"]) {
        cursor.name();
    }
    cursor.eat(&["drop"])
}

fn makes_dummy_view(mut cursor: Cursor) -> bool {
    if !cursor.eat(&["create", "or", "replace", "view"]) {
        return false;
    }
    cursor.skip_qualified_name();
    if cursor.eat(&["with"]) {
        cursor.skip_parentheses();
    }
    cursor.eat(&["as", "select", "null"]) && cursor.eat_sign(b':') && cursor.eat_sign(b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_a_clean_up_are_told_from_those_that_build() {
        for statement in [
            "DROP TABLE public.t;",
            "DROP EVENT TRIGGER IF EXISTS e;",
            "ALTER TABLE ONLY public.t DROP CONSTRAINT c;",
            "ALTER TABLE IF EXISTS ONLY public.\"drop\" DROP CONSTRAINT IF EXISTS c;",
            "ALTER TABLE public.t ALTER COLUMN id DROP DEFAULT;",
            "ALTER DOMAIN public.d DROP CONSTRAINT c;",
            "SELECT pg_catalog.lo_unlink('5');",
            "CREATE OR REPLACE VIEW public.v AS\nSELECT\n    NULL::integer AS id;",
            "UPDATE pg_catalog.pg_database SET datistemplate = false WHERE datname = 'd';",
        ] {
            assert!(removes(statement.as_bytes()), "{statement}");
        }
        for statement in [
            "ALTER TABLE public.t ADD CONSTRAINT c CHECK (true);",
            "ALTER TABLE drop ADD COLUMN x int;",
            "ALTER TABLE public.t OWNER TO a;",
            "CREATE VIEW public.v AS\nSELECT\n    NULL::integer AS id;",
            "CREATE OR REPLACE VIEW public.v AS\n SELECT t.id;",
            "CREATE SCHEMA drop;",
            "SELECT pg_catalog.lo_create('5');",
            "UPDATE t SET pg_database = 1;",
        ] {
            assert!(!removes(statement.as_bytes()), "{statement}");
        }
    }

    #[test]
    fn the_schema_public_is_told_with_quotes_and_without() {
        assert!(
            makes_public_schema(b"CREATE SCHEMA public;")
                && makes_public_schema(b"CREATE SCHEMA \"public\";")
        );
        assert!(!makes_public_schema(b"CREATE SCHEMA IF NOT EXISTS public;"));
        assert!(!makes_public_schema(b"CREATE SCHEMA publication;"));
        assert!(
            drops_public_schema(b"DROP SCHEMA public;")
                && drops_public_schema(b"DROP SCHEMA IF EXISTS public;")
        );
        assert!(!drops_public_schema(b"DROP TABLE public.t;"));
    }
}
