//! Names: of backups in requests and on disk, of databases into file names and out again, and the targets
//! that carry them. The first line is a name; the second, if there is one, the end of a file's name.

#![no_main]

use backupgram::store::catalog::{BackupName, DatabaseName, NameParts, Slot, Suffix};
use backupgram::http::request::Target;
use libfuzzer_sys::fuzz_target;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

fuzz_target!(|text: &str| {
    let (name, suffix) = text.split_once('\n').unwrap_or((text, ".sql.gz"));
    target(name);
    backup(name);
    databases(name);
    database(name, suffix);
});

/// One component of a path, never hidden, and short enough to be a file's.
fn is_safe(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && !name.contains(['/', '\0', '\n', '\r'])
}

fn target(text: &str) {
    let Ok(Target { path, query }) = Target::parse(text) else { return };
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let segments: Vec<String> = path.iter().map(|segment| encode(segment)).collect();
    let parameters: Vec<String> =
        query.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    let spelled_out = format!("/{}?{}", segments.join("/"), parameters.join("&"));
    let again = Target::parse(&spelled_out).expect("what was taken apart, put together again");
    assert_eq!((again.path, again.query), (path.clone(), query), "{spelled_out}");
    let slashes = text.split('?').next().unwrap_or_default().trim_start_matches('/').matches('/').count();
    assert!(path.len() > slashes, "an encoded slash is none that separates");
    for segment in path {
        backup(&segment);
    }
}

fn backup(text: &str) {
    let Ok(name) = BackupName::parse(text) else { return };
    assert!(name.as_str() == text && is_safe(text), "{text:?}");
    assert_eq!(name.manifest(), format!(".{text}.json"));
    let mut readings: Vec<NameParts> = Slot::ALL.iter().filter_map(|slot| name.parts(*slot)).collect();
    readings.extend(name.latest_parts());
    for NameParts { database, stamp, suffix } in readings {
        assert!(!database.as_str().is_empty() && database.as_str().len() < 64);
        assert!(suffix.is_empty() || suffix.starts_with('.'));
        assert!(text.ends_with(&format!("-{stamp}{suffix}")));
        // A name that we give ourselves says all that there is to say of it. Others stand for themselves.
        let beginning = &text[..text.len() - format!("-{stamp}{suffix}").len()];
        let composed = BackupName::compose(&database, &stamp, &suffix);
        assert!(composed == name || database.as_str() == beginning, "{name} and {composed}");
    }
}

/// A list has each name once, and says the same when each is written in quotes, with one comma between two.
fn databases(text: &str) {
    let Ok(names) = DatabaseName::parse_list(text) else { return };
    let texts: Vec<&str> = names.iter().map(DatabaseName::as_str).collect();
    assert!(texts.iter().enumerate().all(|(at, name)| !texts[..at].contains(name)));
    for quote in ["\"", "'"] {
        let quoted = |text: &&str| format!("{quote}{}{quote}", text.replace(quote, &quote.repeat(2)));
        let list: Vec<String> = texts.iter().map(quoted).collect();
        assert_eq!(DatabaseName::parse_list(&list.join(",")), Ok(names.clone()));
    }
}

/// A database is found again in the names of its backups, whatever the two are called.
fn database(text: &str, suffix: &str) {
    let (Ok(database), Ok(suffix)) = (DatabaseName::parse(text), Suffix::parse(suffix)) else { return };
    let suffix = suffix.as_str();
    for (slot, stamp) in [
        (Slot::Last, "20260416-143000"),
        (Slot::Daily, "20260416"),
        (Slot::Weekly, "202616"),
        (Slot::Monthly, "202604"),
    ] {
        let name = BackupName::compose(&database, stamp, suffix);
        assert!(is_safe(name.as_str()) && name.manifest().len() <= 255, "{name}");
        let parsed = BackupName::parse(name.as_str()).expect("a name of ours");
        let parts = parsed.parts(slot).expect("a name of ours has parts");
        assert_eq!(
            (parts.database, parts.stamp.as_str(), parts.suffix.as_str()),
            (database.clone(), stamp, suffix)
        );
        assert_eq!(parsed.latest_parts(), None, "{name} is no pointer");
    }
    let pointer = BackupName::compose(&database, "latest", suffix);
    assert!(Slot::ALL.iter().all(|slot| pointer.parts(*slot).is_none()), "{pointer} is no backup");
    assert_eq!(
        pointer.latest_parts().map(|parts| (parts.database, parts.suffix)),
        Some((database, suffix.to_owned()))
    );
}
