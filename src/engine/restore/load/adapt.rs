//! Edits the SQL of a dump for loading into an empty database of another name, which has a schema `public`.

use std::io::Read;

use crate::engine::restore::error::RestoreError;
use crate::engine::restore::source::{DatabaseStatement, Needs, StatementKind};
use crate::formats::sql::{
    Edit, Edited, Editor, HEAD, Refusal, drops_public_schema, makes_public_schema, quoted_for_psql, removes,
};

/// Passes the SQL of a dump to `take`, without the statements about the database itself that `--create` adds, and
/// without the leading DROP statements of `--clean`. SQL without such statements is passed on unchanged.
pub fn hand_on_adapted(
    needs: &Needs,
    sql: &mut dyn Read,
    take: impl FnOnce(&mut dyn Read) -> Result<(), RestoreError>,
) -> Result<(), RestoreError> {
    if needs.must_be_adapted() {
        take(&mut Edited::new(sql, Adapting::new(needs.replaces_public_schema())))
    } else {
        take(sql)
    }
}

/// The editor.
#[derive(Debug, Default)]
struct Adapting {
    /// Whether anything but settings and DROP statements has been read.
    is_begun: bool,
    /// Whether the dump has dropped the schema `public`.
    has_dropped_public: bool,
    /// Whether the dump may drop the schema `public`.
    may_drop_public: bool,
    /// A SET SESSION AUTHORIZATION that is held back until the next statement is known.
    held: Option<Vec<u8>>,
    /// Whether the session's role is another one.
    has_other_rights: bool,
}

impl Editor for Adapting {
    fn edit(&mut self, head: &[u8]) -> Result<Edit, Refusal> {
        let kind = match head.first() {
            Some(b'\\') if !is_known_command(head) => return Ok(Edit::Keep),
            _ => StatementKind::of(head)?,
        };
        if head.starts_with(b"SET SESSION AUTHORIZATION ") {
            self.held = Some(head.to_vec());
            return Ok(without(head));
        }
        if matches!(kind, StatementKind::Connect(_)) {
            // A new session begins with its own role.
            self.held = None;
            let reset = b"RESET SESSION AUTHORIZATION;\n".to_vec();
            return Ok(if std::mem::take(&mut self.has_other_rights) {
                Edit::Replace(reset)
            } else {
                without(head)
            });
        }
        if self.is_left_out(head, &kind) {
            return Ok(without(head));
        }
        if head.starts_with(b"RESET SESSION AUTHORIZATION") {
            self.held = None;
            return Ok(if std::mem::take(&mut self.has_other_rights) { Edit::Keep } else { without(head) });
        }
        Ok(match self.held.take() {
            Some(held) => {
                self.has_other_rights = true;
                let head = quoted_for_psql(head).unwrap_or_else(|| head.to_vec());
                Edit::Replace([&held, &b" "[..], &head].concat())
            }
            None => Edit::Keep,
        })
    }
}

impl Adapting {
    fn new(may_drop_public: bool) -> Self {
        Self { may_drop_public, ..Self::default() }
    }

    fn is_left_out(&mut self, head: &[u8], kind: &StatementKind) -> bool {
        match kind {
            StatementKind::Command => return true,
            StatementKind::Setting => return false,
            _ if DatabaseStatement::of(head, kind, None).is_some() => return true,
            _ => {}
        }
        if !self.is_begun && removes(head) {
            let stays = self.may_drop_public && drops_public_schema(head);
            self.has_dropped_public |= stays;
            return !stays;
        }
        self.is_begun = true;
        // Every new database has the schema, with the grants that pg_dump assumes.
        makes_public_schema(head) && !self.has_dropped_public
    }
}

fn is_known_command(line: &[u8]) -> bool {
    [&b"\\connect "[..], b"\\encoding ", b"\\restrict ", b"\\unrestrict "]
        .iter()
        .any(|command| line.starts_with(command))
}

/// Removes a statement but keeps its line breaks, as psql's errors have line numbers.
fn without(head: &[u8]) -> Edit {
    match head.len() < HEAD {
        true => Edit::Replace(head.iter().copied().filter(|byte| *byte == b'\n').collect()),
        // It is longer than `head`; the rest is removed as well.
        false => Edit::Drop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(text: &str) -> String {
        adapted_by(Adapting::default(), text)
    }

    fn adapted_by(editor: Adapting, text: &str) -> String {
        let mut out = String::new();
        Edited::new(text.as_bytes(), editor).read_to_string(&mut out).unwrap();
        out
    }

    #[test]
    fn what_is_about_the_database_itself_is_left_out_and_lines_keep_their_numbers() {
        let text = "\\restrict a\nSET a = 1;\nDROP DATABASE app;\nCREATE DATABASE app WITH\n TEMPLATE = template0;\n\
                    \\unrestrict a\n\\connect app\n\\restrict a\nCOMMENT ON DATABASE app IS 'a\nb';\n\
                    CREATE TABLE t (x int);\nCOPY t (x) FROM stdin;\n\\.\nGRANT CONNECT ON DATABASE app TO a;\n";
        let expected =
            "\nSET a = 1;\n\n\n\n\n\n\n\n\nCREATE TABLE t (x int);\nCOPY t (x) FROM stdin;\n\\.\n\n";
        assert_eq!(adapted(text), expected);
    }

    #[test]
    fn removing_statements_are_left_out_at_the_beginning_only() {
        let text = "SET a = 1;\nDROP TABLE t;\nALTER TABLE ONLY u DROP CONSTRAINT c;\nCREATE TABLE t (x int);\nDROP TABLE t;\n";
        assert_eq!(adapted(text), "SET a = 1;\n\n\nCREATE TABLE t (x int);\nDROP TABLE t;\n");
    }

    #[test]
    fn the_schema_public_is_made_only_where_the_dump_has_dropped_it() {
        assert_eq!(adapted("CREATE SCHEMA public;\nCREATE SCHEMA s;\n"), "\nCREATE SCHEMA s;\n");
        let dropped = "DROP SCHEMA IF EXISTS public;\nCREATE SCHEMA public;\n";
        assert_eq!(adapted_by(Adapting::new(true), dropped), dropped);
        assert_eq!(adapted_by(Adapting::new(false), dropped), "\n\n");
    }

    #[test]
    fn rights_of_others_are_taken_on_only_for_what_stays() {
        let rights = |grant: &str| {
            format!("SET SESSION AUTHORIZATION a;\n{grant}\nRESET SESSION AUTHORIZATION;\nSELECT 1;\n")
        };
        assert_eq!(adapted(&rights("GRANT CONNECT ON DATABASE d TO b;")), "\n\n\nSELECT 1;\n");
        let table = "GRANT SELECT ON TABLE t TO b;";
        let kept =
            format!("\nSET SESSION AUTHORIZATION a; {table}\nRESET SESSION AUTHORIZATION;\nSELECT 1;\n");
        assert_eq!(adapted(&rights(table)), kept);
    }

    #[test]
    fn a_new_session_begins_with_the_rights_of_its_own_role() {
        let text = "SET SESSION AUTHORIZATION 'a';\nCREATE DATABASE d;\n\\connect d\nSELECT 1;\n";
        assert_eq!(adapted(text), "\n\n\nSELECT 1;\n");
        let text = "SET SESSION AUTHORIZATION 'a';\nSELECT 1;\n\\connect d\nSELECT 2;\n";
        let expected =
            "\nSET SESSION AUTHORIZATION 'a'; SELECT 1;\nRESET SESSION AUTHORIZATION;\nSELECT 2;\n";
        assert_eq!(adapted(text), expected);
    }

    #[test]
    fn commands_that_pg_dump_does_not_write_are_left_to_psql() {
        assert_eq!(adapted("\\! id\nSELECT 1;\n"), "\\! id\nSELECT 1;\n");
    }
}
