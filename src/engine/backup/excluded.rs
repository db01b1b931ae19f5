//! What `POSTGRES_EXCLUDE_TABLES` does to a database: which tables its patterns leave out, and what needs those and cannot
//! be restored without them.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::recipe::Item;
use crate::postgres::quote::literal;
use crate::postgres::{Client, DatabaseError};
use crate::store::catalog::Scope;
use crate::util::units;

/// At most so many dependents of a table are named.
const MANY: usize = 10;

/// The patterns of a run, and whether they have found anything.
#[derive(Debug)]
pub struct Exclusions<'a> {
    patterns: &'a [String],
    has_matched: Vec<bool>,
    /// Whether every database could be asked.
    is_complete: bool,
}

/// What the server answers.
#[derive(Debug, Deserialize)]
struct Answer {
    /// The numbers of the patterns that match something.
    matched: Vec<usize>,
    /// A table that is left out, and something that needs it.
    dependents: Vec<(String, String)>,
}

impl<'a> Exclusions<'a> {
    /// For the patterns of the settings, as pg_dump takes them.
    pub fn new(patterns: &'a [String]) -> Self {
        Self { patterns, has_matched: vec![false; patterns.len()], is_complete: true }
    }

    /// Warns of what in a database cannot be restored without the excluded tables.
    pub fn look_at(&mut self, client: &Client, item: &Item) {
        if self.patterns.is_empty() || item.scope != Scope::Database {
            return;
        }
        match self.ask(&client.of_database(&item.name)) {
            Ok(answer) => {
                for number in answer.matched {
                    self.has_matched.get_mut(number).into_iter().for_each(|matched| *matched = true);
                }
                if let Some(told) = described(answer.dependents) {
                    log::warn!(
                        "{}: POSTGRES_EXCLUDE_TABLES leaves out tables that other objects need; a restore \
                         fails or lacks those objects: {told}",
                        item.name
                    );
                }
            }
            // pg_dump says what is wrong with a pattern.
            Err(error) => {
                self.is_complete = false;
                log::debug!("{}: {error}", item.name);
            }
        }
    }

    /// Warns of the patterns that have matched nothing in any database of the run.
    pub fn finish(self) {
        let unmatched = self.patterns.iter().zip(self.has_matched).filter(|(_, matched)| !matched);
        for (pattern, _) in unmatched.filter(|_| self.is_complete) {
            log::warn!("POSTGRES_EXCLUDE_TABLES: no table matches {pattern}");
        }
    }

    fn ask(&self, client: &Client) -> Result<Answer, DatabaseError> {
        let patterns: Vec<String> = self.patterns.iter().enumerate().map(row).collect();
        client.ask(&QUERY.replace("PATTERNS", &patterns.join(", ")), &[])
    }
}

/// For each table what needs it, the first of many.
fn described(dependents: Vec<(String, String)>) -> Option<String> {
    let mut by_table = BTreeMap::<String, Vec<String>>::new();
    for (table, dependent) in dependents {
        by_table.entry(table).or_default().push(dependent);
    }
    let told: Vec<String> = by_table
        .into_iter()
        .map(|(table, dependents)| {
            let rest = dependents.len().saturating_sub(MANY);
            let more = if rest == 0 { String::new() } else { format!(" and {rest} more") };
            format!("{table} (by {}{more})", units::list(dependents.iter().take(MANY)))
        })
        .collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// What a pattern is in the query: its number, and regular expressions for a database, a schema and a name. pg_dump finds
/// a name without a schema where the search path leads.
fn row((number, pattern): (usize, &String)) -> String {
    let mut parts = expressions(pattern).into_iter().rev();
    let mut next = || parts.next().map_or_else(|| "NULL".to_owned(), |part| literal(&part));
    let (name, schema, database) = (next(), next(), next());
    format!("({number}, {database}, {schema}, {name})")
}

/// The regular expressions that pg_dump makes of the parts of a pattern (`patternToSQLRegex`).
fn expressions(pattern: &str) -> Vec<String> {
    let (mut parts, mut part, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut letters = pattern.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => {
                letters.next();
                part.push('"');
            }
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => parts.push(std::mem::take(&mut part)),
            '*' if !is_quoted => part.push_str(".*"),
            '?' if !is_quoted => part.push('.'),
            '$' => part.push_str("\\$"),
            '[' if letters.peek() == Some(&']') => part.push_str("\\["),
            letter if is_quoted && "|*+?()[]{}.^\\".contains(letter) => part.extend(['\\', letter]),
            letter if is_quoted => part.push(letter),
            letter => part.push(letter.to_ascii_lowercase()),
        }
    }
    parts.push(part);
    parts.into_iter().map(|part| format!("^({part})$")).collect()
}

/// What depends on a table itself is left out with it. So are its statistics, and a sequence that only it uses stays.
const QUERY: &str = r"
    RESET search_path;
    SELECT pg_catalog.array_agg(c.oid) AS visible FROM pg_catalog.pg_class c
        WHERE pg_catalog.pg_table_is_visible(c.oid) \gset
    SET search_path = pg_catalog;
    WITH pattern (number, database, schema, name) AS (VALUES PATTERNS),
    found AS (
        SELECT p.number, c.oid FROM pattern p, pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'S', 'v', 'm', 'f', 'p') AND c.relname ~ p.name::text
            AND CASE WHEN p.schema IS NULL THEN c.oid = ANY (:'visible')
                ELSE n.nspname ~ p.schema::text END
            AND (p.database IS NULL OR pg_catalog.current_database() ~ p.database::text)),
    excluded AS (SELECT DISTINCT oid FROM found),
    needed (class, oid, of) AS (
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, oid, oid FROM excluded
        UNION ALL SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, o.oid, e.oid FROM excluded e
            JOIN pg_catalog.pg_type t ON t.typrelid = e.oid
            JOIN pg_catalog.pg_type o ON o.oid IN (t.oid, t.typarray)),
    dependent AS (
        SELECT DISTINCT n.of, d.classid, d.objid,
            coalesce(r.ev_class, k.conrelid, a.adrelid, p.polrelid, t.tgrelid, i.indrelid,
                CASE WHEN d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass THEN d.objid END) AS relation,
            r.rulename = '_RETURN' AS is_view
        FROM needed n JOIN pg_catalog.pg_depend d ON d.refclassid = n.class AND d.refobjid = n.oid
            LEFT JOIN pg_catalog.pg_rewrite r
                ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND r.oid = d.objid
            LEFT JOIN pg_catalog.pg_constraint k
                ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND k.oid = d.objid
            LEFT JOIN pg_catalog.pg_attrdef a
                ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND a.oid = d.objid
            LEFT JOIN pg_catalog.pg_policy p
                ON d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass AND p.oid = d.objid
            LEFT JOIN pg_catalog.pg_trigger t
                ON d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass AND t.oid = d.objid
            LEFT JOIN pg_catalog.pg_index i
                ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND i.indexrelid = d.objid
        WHERE d.deptype <> 'i' AND d.classid <> 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass),
    told AS (
        SELECT DISTINCT d.of, CASE WHEN d.is_view
            THEN pg_catalog.pg_describe_object('pg_catalog.pg_class'::pg_catalog.regclass, d.relation, 0)
            ELSE pg_catalog.pg_describe_object(d.classid, d.objid, 0) END AS dependent
        FROM dependent d LEFT JOIN pg_catalog.pg_class c ON c.oid = d.relation
        WHERE d.relation IS NULL OR d.relation NOT IN (SELECT oid FROM excluded) AND c.relkind <> 'S')
    SELECT pg_catalog.json_build_object(
        'matched', (SELECT coalesce(pg_catalog.json_agg(DISTINCT number), '[]') FROM found),
        'dependents', (SELECT coalesce(pg_catalog.json_agg(
                pg_catalog.json_build_array(of::pg_catalog.regclass::text, dependent) ORDER BY of, dependent), '[]')
            FROM told))";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_become_the_expressions_that_pg_dump_makes_of_them() {
        for (pattern, expected) in [
            ("Audit_*", &["^(audit_.*)$"][..]),
            ("public.orders", &["^(public)$", "^(orders)$"]),
            ("\"My.Schema\".\"a\"\"b*\"", &["^(My\\.Schema)$", "^(a\"b\\*)$"]),
            ("db.s?.t[0-9]+", &["^(db)$", "^(s.)$", "^(t[0-9]+)$"]),
            ("a$b|c", &["^(a\\$b|c)$"]),
        ] {
            assert_eq!(expressions(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn of_many_dependents_the_first_are_named() {
        assert_eq!(described(Vec::new()), None);
        let pairs = |count: usize| (0..count).map(|at| ("t".to_owned(), format!("view v{at}"))).collect();
        assert_eq!(described(pairs(2)).unwrap(), "t (by view v0, view v1)");
        assert!(described(pairs(MANY + 3)).unwrap().ends_with("view v9 and 3 more)"));
    }
}
