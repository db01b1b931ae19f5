//! The options of pg_dump and pg_dumpall that must be told apart.

/// Options with a value that would change the output or the connection.
pub(super) const REFUSED: [(char, &str); 6] =
    [('f', "file"), ('d', "dbname"), ('l', "database"), ('h', "host"), ('p', "port"), ('U', "username")];
/// Options without a value that would do so.
pub(super) const REFUSED_FLAGS: [(char, &str); 2] = [('w', "no-password"), ('W', "password")];

/// The options of a program that take a value. They must be known, because the value may be the next word, which could
/// look like an option.
pub(super) struct Grammar {
    /// Short options.
    pub letters: &'static [char],
    /// Long options.
    pub words: &'static [&'static str],
}

/// Options of pg_dump.
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

/// Options of pg_dumpall. Some share letters with other options of pg_dump. Format, compression and jobs are handled
/// by us.
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
