//! Which options pg_dump and pg_dumpall have, as far as they must be told apart.

/// Options with a value that would change what is written where, or whom the program talks to.
pub(super) const REFUSED: [(char, &str); 6] =
    [('f', "file"), ('d', "dbname"), ('l', "database"), ('h', "host"), ('p', "port"), ('U', "username")];
/// Options without one that would.
pub(super) const REFUSED_FLAGS: [(char, &str); 2] = [('w', "no-password"), ('W', "password")];

/// Which options of a program have a value. It may be the next word, so they must be known to tell values from
/// options.
pub(super) struct Grammar {
    /// The short ones.
    pub letters: &'static [char],
    /// The long ones.
    pub words: &'static [&'static str],
}

/// pg_dump's.
pub(super) const OF_PG_DUMP: Grammar = Grammar {
    letters: &['e', 'E', 'j', 'n', 'N', 'S', 't', 'T', 'F', 'Z'],
    words: &[
        "extension",
        "encoding",
        "jobs",
        "schema",
        "exclude-schema",
        "superuser",
        "table",
        "exclude-table",
        "exclude-table-data",
        "table-and-children",
        "exclude-table-and-children",
        "exclude-table-data-and-children",
        "exclude-extension",
        "extra-float-digits",
        "filter",
        "include-foreign-data",
        "lock-wait-timeout",
        "restrict-key",
        "role",
        "rows-per-insert",
        "section",
        "snapshot",
        "sync-method",
    ],
};

/// pg_dumpall's, of which some have the letters of other options of pg_dump. Formats, compression and jobs are ours
/// there.
pub(super) const OF_PG_DUMPALL: Grammar = Grammar {
    letters: &['E', 'S', 'F', 'Z', 'j'],
    words: &[
        "encoding",
        "exclude-database",
        "extra-float-digits",
        "filter",
        "jobs",
        "lock-wait-timeout",
        "restrict-key",
        "role",
        "rows-per-insert",
        "superuser",
    ],
};
