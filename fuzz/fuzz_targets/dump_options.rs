//! `POSTGRES_EXTRA_OPTS`: what is left for pg_dump or pg_dumpall, read as that reads it, changes neither what it
//! writes to nor whom it talks to.

#![no_main]

use backupgram::settings::DumpOptions;
use backupgram::formats::compress::Compression;
use libfuzzer_sys::fuzz_target;

/// The options of a program.
struct Program {
    /// The short ones, as getopt(3) takes them.
    short: &'static str,
    /// The long ones without a value.
    flags: &'static str,
    /// The long ones with a value.
    with_value: &'static str,
}

const PG_DUMP: Program = Program {
    short: "abBcCd:e:E:f:F:h:j:n:N:Op:RsS:t:T:U:vwWxXZ:",
    flags: "attribute-inserts binary-upgrade blobs clean column-inserts create data-only \
    disable-dollar-quoting disable-triggers enable-row-security if-exists inserts large-objects \
    load-via-partition-root no-acl no-blobs no-comments no-data no-large-objects no-owner no-password no-policies \
    no-privileges no-publications no-reconnect no-schema no-security-labels no-statistics no-subscriptions no-sync \
    no-synchronized-snapshots no-table-access-method no-tablespaces no-toast-compression no-unlogged-table-data \
    on-conflict-do-nothing password quote-all-identifiers schema-only sequence-data serializable-deferrable \
    statistics statistics-only strict-names use-set-session-authorization verbose",
    with_value: "compress dbname encoding exclude-extension exclude-schema exclude-table \
    exclude-table-and-children exclude-table-data exclude-table-data-and-children extension extra-float-digits file \
    filter format host include-foreign-data jobs lock-wait-timeout port restrict-key role rows-per-insert schema \
    section snapshot superuser sync-method table table-and-children username",
};

const PG_DUMPALL: Program = Program {
    short: "acd:E:f:gh:l:Op:rsS:tU:vwWx",
    flags: "attribute-inserts binary-upgrade clean column-inserts data-only disable-dollar-quoting disable-triggers \
        globals-only if-exists inserts load-via-partition-root no-acl no-comments no-data no-owner no-password \
        no-policies no-privileges no-publications no-role-passwords no-schema no-security-labels no-statistics \
        no-subscriptions no-sync no-table-access-method no-tablespaces no-toast-compression no-unlogged-table-data \
        on-conflict-do-nothing password quote-all-identifiers roles-only schema-only sequence-data statistics \
        statistics-only tablespaces-only use-set-session-authorization verbose",
    with_value: "database dbname encoding exclude-database extra-float-digits file filter host lock-wait-timeout port \
        restrict-key role rows-per-insert superuser username",
};

/// Those that are not the user's: output, server, login and `CREATE DATABASE`.
const REFUSED: &str = "fdlhpUwWC";
const REFUSED_LONG: [&str; 9] =
    ["file", "dbname", "database", "host", "port", "username", "no-password", "password", "create"];

/// What a program makes of an option.
enum Taken {
    Flag,
    WithNext,
    WithValue,
    /// It says that there is no such option, or several, and ends.
    Refused,
}

fuzz_target!(|text: &str| {
    if let Ok(options) = DumpOptions::parse(text) {
        judge(&options, &PG_DUMP);
    }
    if let Ok(options) = DumpOptions::parse_for_server(text) {
        judge(&options, &PG_DUMPALL);
    }
});

fn judge(options: &DumpOptions, program: &Program) {
    if let Compression::Gzip(level) = options.compression {
        assert!((1..=9).contains(&level));
    }
    let mut words = options.rest.iter();
    while let Some(word) = words.next() {
        let dashed = word.strip_prefix('-').filter(|rest| !rest.is_empty());
        let letters = dashed.unwrap_or_else(|| panic!("{word:?} is the name of a database"));
        let taken = match letters.strip_prefix('-') {
            Some("") => panic!("the options end before ours"),
            Some(long) => program.take_long(long),
            None => program.take_short(letters),
        };
        match taken {
            Taken::Flag | Taken::WithValue => {}
            Taken::WithNext => drop(words.next().unwrap_or_else(|| panic!("{word:?} takes one of ours"))),
            Taken::Refused => return,
        }
    }
}

impl Program {
    fn take_short(&self, letters: &str) -> Taken {
        for (at, letter) in letters.char_indices() {
            let Some(known) = self.short.find(letter).filter(|_| letter != ':') else {
                return Taken::Refused;
            };
            assert!(!REFUSED.contains(letter), "-{letters} went by");
            if self.short[known + 1..].starts_with(':') {
                let attached = at + letter.len_utf8() < letters.len();
                return if attached { Taken::WithValue } else { Taken::WithNext };
            }
        }
        Taken::Flag
    }

    /// getopt_long(3): the whole name, or a beginning that only one option has.
    fn take_long(&self, long: &str) -> Taken {
        let (name, value) = long.split_once('=').map_or((long, false), |(name, _)| (name, true));
        let named = |list: &'static str| list.split_whitespace().filter(move |full| full.starts_with(name));
        let candidates: Vec<&str> = named(self.flags).chain(named(self.with_value)).collect();
        let full = match candidates[..] {
            [only] => only,
            _ if candidates.contains(&name) => name,
            _ => return Taken::Refused,
        };
        assert!(!REFUSED_LONG.contains(&full), "--{long} went by");
        match (named(self.with_value).any(|other| other == full), value) {
            (true, true) => Taken::WithValue,
            (true, false) => Taken::WithNext,
            (false, true) => Taken::Refused,
            (false, false) => Taken::Flag,
        }
    }
}
