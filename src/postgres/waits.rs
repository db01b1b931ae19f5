//! Finds out which lock a dump waits for, and which sessions hold it.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::client::{Client, DatabaseError};
use super::server::APPLICATION;
use crate::store::catalog::DatabaseName;
use crate::util::units;

/// Time limit for the query.
const PATIENCE: Duration = Duration::from_secs(10);
/// Maximum number of lock holders named.
const MANY: usize = 3;

/// A session of ours that waits for a lock.
#[derive(Debug, Deserialize)]
struct Wait {
    database: Option<String>,
    /// The kind of lock (`locktype` of pg_locks).
    kind: String,
    /// The relation, if the lock is on one.
    relation: Option<u32>,
    holders: Vec<Holder>,
}

/// A session that holds the lock.
#[derive(Debug, Deserialize)]
struct Holder {
    /// 0 for a prepared transaction, which has no process.
    pid: i32,
    user: Option<String>,
    application: Option<String>,
    /// Age of its transaction in seconds; only monitoring roles can see it for other users.
    seconds: Option<i64>,
}

/// Describes the lock a dump waits for, if any, or that the server does not answer. Returns within 10 s.
pub fn of_dump(client: &Client, database: Option<&DatabaseName>) -> Option<String> {
    let client = client.until(Instant::now() + PATIENCE);
    match ask(&client, database) {
        Ok(wait) => wait.map(|wait| wait.in_words(&client)),
        Err(error) => {
            log::debug!("cannot ask what the dump waits for: {error}");
            Some("the server does not answer the query for what this waits for".into())
        }
    }
}

fn ask(client: &Client, database: Option<&DatabaseName>) -> Result<Option<Wait>, DatabaseError> {
    let database = database.map_or("", DatabaseName::as_str);
    client.ask_regardless(QUERY, &[("application", APPLICATION), ("database", database)])
}

/// The session of ours that has waited longest. Of the holders it reads only what every role may see.
const QUERY: &str = "SET statement_timeout = '5s';
    SELECT json_build_object('database', a.datname, 'kind', l.locktype, 'relation', l.relation::bigint,
        'holders', (SELECT coalesce(json_agg(json_build_object('pid', b.pid, 'user', s.usename,
                'application', nullif(s.application_name, ''),
                'seconds', extract(epoch FROM now() - s.xact_start)::bigint)), '[]')
            FROM (SELECT DISTINCT unnest(pg_blocking_pids(a.pid))) b (pid)
                LEFT JOIN pg_stat_activity s ON s.pid = b.pid))
    FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND NOT l.granted
    WHERE a.application_name = :'application' AND a.usename = session_user
        AND :'database' IN ('', a.datname)
    ORDER BY a.query_start LIMIT 1";

/// The kind and name of a relation, queried in its database.
const NAME: &str = "SET statement_timeout = '5s';
    SELECT to_json(CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'S' THEN 'sequence'
            WHEN 'i' THEN 'index' WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'relation' END
        || ' ' || quote_ident(n.nspname) || '.' || quote_ident(c.relname))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = :'relation'";

impl Wait {
    fn in_words(&self, client: &Client) -> String {
        let on = match self.relation {
            Some(oid) => {
                format!("on {}", self.name(client, oid).unwrap_or_else(|| format!("relation {oid}")))
            }
            None => format!("of kind {}", self.kind),
        };
        let holders: Vec<String> = self.holders.iter().take(MANY).map(Holder::in_words).collect();
        let by = match (holders.is_empty(), self.holders.len().saturating_sub(MANY)) {
            (true, _) => String::new(),
            (false, 0) => format!(" held by {}", units::list(holders)),
            (false, more) => format!(" held by {} and {more} more", units::list(holders)),
        };
        let lock = on + &by;
        format!("waits for a lock {lock}")
    }

    fn name(&self, client: &Client, oid: u32) -> Option<String> {
        let database = DatabaseName::parse(self.database.as_deref()?).ok()?;
        let client = client.of_database(&database);
        client.ask_regardless::<Option<String>>(NAME, &[("relation", &oid.to_string())]).ok()?
    }
}

impl Holder {
    fn in_words(&self) -> String {
        if self.pid == 0 {
            return "a prepared transaction".into();
        }
        let known = [
            self.user.as_ref().map(|user| format!("user {user}")),
            self.application.as_ref().map(|application| format!("application {application}")),
            self.seconds.map(|seconds| format!("for {}", units::age(seconds))),
        ];
        let known: Vec<String> = known.into_iter().flatten().collect();
        match known.is_empty() {
            true => format!("process {}", self.pid),
            false => format!("process {} ({})", self.pid, units::list(known)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_holder_is_told_what_is_known() {
        let holder = |pid, user: Option<&str>, seconds| Holder {
            pid,
            user: user.map(String::from),
            application: None,
            seconds,
        };
        assert_eq!(holder(7, Some("bob"), Some(10_800)).in_words(), "process 7 (user bob, for 3 h)");
        assert_eq!(holder(7, None, None).in_words(), "process 7");
        assert_eq!(holder(0, None, None).in_words(), "a prepared transaction");
    }
}
