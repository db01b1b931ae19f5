//! Quotes names in functions and procedures so that psql finds the end of the statement.
//!
//! In a routine with an unquoted body psql counts every BEGIN, CASE and END, even if it is the name of a function,
//! table or column (psqlscan.l), and never sends the statement. In double quotes they are not counted.

use std::ops::Range;

use super::scanner::Scanner;
use super::words::Block;

/// Whether a statement that starts with `head` creates a function or procedure.
pub(super) fn makes_routine(head: &[u8]) -> bool {
    let words = String::from_utf8_lossy(&head[..head.len().min(64)]).to_ascii_lowercase();
    let words: Vec<&str> = words.split_ascii_whitespace().take(4).collect();
    matches!(
        words[..],
        ["create", "function" | "procedure", ..] | ["create", "or", "replace", "function" | "procedure"]
    )
}

/// The statement with quotes around names that psql would misread as keywords; `None` if there are none.
#[must_use]
pub fn quoted_for_psql(statement: &[u8]) -> Option<Vec<u8>> {
    if !makes_routine(statement) {
        return None;
    }
    let names = names(statement);
    let mut quoted = Vec::with_capacity(statement.len() + 2 * names.len());
    let mut at = 0;
    for name in &names {
        quoted.extend_from_slice(&statement[at..name.start]);
        // An unquoted name is folded to lower case.
        quoted.extend([&b"\""[..], &statement[name.clone()].to_ascii_lowercase(), b"\""].concat());
        at = name.end;
    }
    quoted.extend_from_slice(&statement[at..]);
    (!names.is_empty()).then_some(quoted)
}

fn names(statement: &[u8]) -> Vec<Range<usize>> {
    let (mut scanner, mut names, mut begin) = (Scanner::default(), Vec::new(), None::<Range<usize>>);
    for (at, byte) in statement.iter().enumerate() {
        // At the edge where the statement starts, `scan` does not consume the byte; pass it again.
        if scanner.scan(&[*byte]).0 == 0 {
            scanner.scan(&[*byte]);
        }
        let Some((block, is_name)) = scanner.take_ended_word() else { continue };
        let blocks = scanner.blocks();
        if !(block == Block::Atomic && blocks > 0) {
            names.extend(begin.take());
        }
        begin = None;
        match block {
            Block::Begin => begin = Some(at - 5..at),
            Block::Case if is_name && blocks > 0 => names.push(at - 4..at),
            Block::End if is_name && blocks > 0 => names.push(at - 3..at),
            _ => {}
        }
    }
    names.extend(begin);
    names
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(statement: &str) -> Option<String> {
        quoted_for_psql(statement.as_bytes()).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn names_that_psql_would_count_get_quotes() {
        for (statement, expected) in [
            (
                "CREATE FUNCTION public.begin() RETURNS int AS $$ begin end $$;",
                "CREATE FUNCTION public.\"begin\"() RETURNS int AS $$ begin end $$;",
            ),
            (
                "CREATE FUNCTION f() RETURNS SETOF Begin AS 'begin';",
                "CREATE FUNCTION f() RETURNS SETOF \"begin\" AS 'begin';",
            ),
            (
                "CREATE FUNCTION f() RETURNS begin\"an alias\" AS '';",
                "CREATE FUNCTION f() RETURNS \"begin\"\"an alias\" AS '';",
            ),
            (
                "CREATE OR REPLACE FUNCTION f() BEGIN ATOMIC SELECT b.begin, b.end FROM begin b; END;",
                "CREATE OR REPLACE FUNCTION f() BEGIN ATOMIC SELECT b.\"begin\", b.\"end\" FROM \"begin\" b; END;",
            ),
            (
                "CREATE PROCEDURE p() BEGIN ATOMIC SELECT 1 AS case; END;",
                "CREATE PROCEDURE p() BEGIN ATOMIC SELECT 1 AS \"case\"; END;",
            ),
            (
                "CREATE FUNCTION f() SET begin.atomic TO '1' AS '';",
                "CREATE FUNCTION f() SET \"begin\".atomic TO '1' AS '';",
            ),
        ] {
            assert_eq!(quoted(statement).as_deref(), Some(expected), "{statement}");
        }
    }

    proptest! {
        #[test]
        fn what_has_quotes_needs_no_more_of_them(
            text in "CREATE FUNCTION( begin| atomic| as| end| case|[.\"'$();x/*-]|\n| e'\\\\')*"
        ) {
            if let Some(quoted) = quoted_for_psql(text.as_bytes()) {
                prop_assert_eq!(quoted_for_psql(&quoted), None);
                let without = |text: &[u8]| text.iter().copied().filter(|byte| *byte != b'"').collect::<Vec<_>>();
                prop_assert_eq!(without(&quoted), without(text.as_bytes()));
            }
        }
    }

    #[test]
    fn nothing_else_gets_any() {
        for statement in [
            "CREATE FUNCTION f(begin int) RETURNS int LANGUAGE sql AS $x$ begin $x$;",
            "CREATE FUNCTION f() BEGIN ATOMIC SELECT CASE WHEN a THEN (CASE WHEN b THEN 1 END) END; END;",
            "CREATE FUNCTION f() BEGIN\nATOMIC SELECT (SELECT t.begin FROM t); END;",
            "CREATE FUNCTION beginning() RETURNS int AS '' -- begin\n;",
            "CREATE TABLE begin (begin int);",
            "CREATE FUNCTION",
        ] {
            assert_eq!(quoted(statement), None, "{statement}");
        }
    }
}
