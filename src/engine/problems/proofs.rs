//! Databases of which no backup has been restored for long.

use jiff::Timestamp;

use crate::settings::{Environment, Reader};
use crate::store::catalog::DatabaseName;
use crate::store::records::Ledger;
use crate::store::records::Report;
use crate::util::units;

/// A problem if the last restore proof of a database is older than the settings allow.
pub(super) fn check(environment: &Environment, last: Option<&Report>, proofs: &Ledger) -> Option<String> {
    let days = match Reader::resolve(environment, |reader| reader.whole("BACKUP_MAX_UNPROVEN_DAYS")) {
        Ok(days) => days,
        Err(faults) => return Some(faults.to_string()),
    };
    let (Some(report), 1..) = (last, days) else { return None };
    let now = Timestamp::now().as_second();
    let oldest = now.saturating_sub(i64::from(days) * 86_400);
    let is_proven = |name: &str| {
        let proof = DatabaseName::parse(name).ok().and_then(|name| proofs.get(&name));
        proof.is_some_and(|proof| (oldest..=now).contains(&proof.verification.at))
    };
    let names = report.databases.iter().map(|database| database.name.as_str());
    let unproven: Vec<&str> = names.filter(|name| !is_proven(name)).collect();
    (!unproven.is_empty())
        .then(|| format!("not proven by a restore in the last {days} d: {}", units::list(unproven)))
}
