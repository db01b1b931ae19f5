//! Needs in a manifest, so that a restore of the same bytes need not parse the SQL.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Needs;

/// Version of the format. Must change with [`Needs`], as an older version has not looked for new needs.
const FORM: u32 = 1;
/// Maximum size in the manifest, in bytes.
const LIMIT: usize = 64 * 1024;

#[derive(Serialize, Deserialize)]
struct Recorded<N> {
    form: u32,
    /// The size of the SQL in bytes.
    bytes: u64,
    needs: N,
}

impl Needs {
    /// Encodes the needs of SQL of `bytes` bytes. `None` if they are not known completely, concern more than a
    /// database's contents, or are too long.
    pub fn record(&self, bytes: u64) -> Option<Value> {
        let is_simple = self.unknown.is_none() && self.database.is_empty() && self.connects_to.is_empty();
        let recorded = is_simple.then_some(Recorded { form: FORM, bytes, needs: self })?;
        serde_json::to_value(recorded).ok().filter(|value| value.to_string().len() <= LIMIT)
    }

    /// Decodes the size of the SQL in bytes, and its needs.
    pub fn recorded(value: &Value) -> Option<(u64, Self)> {
        let Recorded { form, bytes, needs } = Recorded::<Self>::deserialize(value).ok()?;
        (form == FORM).then_some((bytes, needs))
    }
}

#[cfg(test)]
mod tests {
    use super::super::NeedsReader;
    use super::*;
    use crate::engine::content::{Content, Watcher};

    fn read(sql: &str) -> Needs {
        let mut reader = NeedsReader::default();
        reader.watch(Content::Database, sql.as_bytes());
        reader.finish().0
    }

    #[test]
    fn what_is_recorded_is_what_was_read() {
        let needs = read(
            "--\n-- PostgreSQL database dump\n--\n\n-- Dumped by pg_dump version 17.2\n\nSET client_encoding = 'LATIN1';\n\
             CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA public;\nCREATE TYPE public.t (INPUT = f, OUTPUT = g);\n\
             SET default_tablespace = slow;\nCREATE TABLE public.a (x text COLLATE pg_catalog.\"de-x-icu\");\n\
             ALTER TABLE public.a OWNER TO writer;\nCOPY public.a (x) FROM stdin;\n1\n\\.\n\
             SET SESSION AUTHORIZATION grantor;\nGRANT SELECT ON TABLE public.a TO reader;\nRESET SESSION AUTHORIZATION;\n",
        );
        assert!(needs.has_rows && needs.for_superusers.len() == 1 && needs.roles.len() == 3, "{needs:?}");
        let recorded = needs.record(700).unwrap();
        assert_eq!(Needs::recorded(&recorded), Some((700, needs)));
        let mut other = recorded.clone();
        other["form"] = 0.into();
        assert_eq!(Needs::recorded(&other), None);
        assert_eq!(Needs::recorded(&Value::Null), None);
    }

    #[test]
    fn what_is_about_more_than_contents_or_not_all_known_is_not_recorded() {
        for sql in [
            "CREATE DATABASE app;\n\\connect app\n",
            "\\connect app\n",
            "CREATE TABLE t (x int);\n\\! id\n",
            "COMMENT ON DATABASE app IS 'x';\n",
        ] {
            assert_eq!(read(sql).record(1), None, "{sql}");
        }
        let long: String = (0..10_000).map(|n| format!("ALTER TABLE t{n} OWNER TO role_{n};\n")).collect();
        assert_eq!(read(&long).record(1), None);
    }
}
