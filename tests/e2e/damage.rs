//! One wrong bit anywhere in a backup: beside its manifest it is found by whatever reads it, and without one where the
//! format can tell. `scripts/soak.sh damage` looks at more places.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::*;

const KEY: &str = "a key";
/// Places in each format, unless `BACKUPGRAM_E2E_ROUNDS` says how many.
const PLACES: u64 = 1;

/// The same places on every machine.
struct Places(u64);

impl Places {
    /// A byte and a bit within so many bytes.
    fn within(&mut self, length: u64) -> (u64, u8) {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % length, 1 << (self.0 >> 32 & 7))
    }
}

/// The files of a backup that hold something.
fn files(backup: &Path) -> Vec<PathBuf> {
    if backup.is_file() {
        return vec![backup.to_path_buf()];
    }
    let all = fs::read_dir(backup).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = all.filter(|path| fs::metadata(path).unwrap().len() > 0).collect();
    files.sort();
    files
}

/// Flips a bit while `look` looks.
fn with_a_wrong_bit(backup: &Path, places: &mut Places, look: impl FnOnce(&str)) {
    let files = files(backup);
    let file = &files[usize::try_from(places.within(files.len() as u64).0).unwrap()];
    let good = fs::read(file).unwrap();
    let (at, bit) = places.within(good.len() as u64);
    let mut bad = good.clone();
    bad[usize::try_from(at).unwrap()] ^= bit;
    corrupt(file, bad);
    look(&format!("{} at {at} of {}, bit {bit:#04x}", file.display(), good.len()));
    corrupt(file, good);
}

/// What becomes of a wrong bit in a file of which nothing is known.
#[derive(Clone, Copy, PartialEq)]
enum Unknown {
    /// It is always found.
    Refused,
    /// It is found unless it changes nothing that counts, such as the time in a gzip header.
    RefusedOrHarmless,
    /// It may be in what has no checksum of its own.
    NotSeen,
}

const FORMATS: [(&str, &str, Unknown); 9] = [
    ("-Z0", "", Unknown::NotSeen),
    ("-Z1", "", Unknown::RefusedOrHarmless),
    ("-Zzstd", "", Unknown::RefusedOrHarmless),
    ("-Fc", "", Unknown::NotSeen),
    ("-Ft", "", Unknown::NotSeen),
    ("-Fd", "", Unknown::NotSeen),
    ("-Z1", KEY, Unknown::Refused),
    ("-Fc", KEY, Unknown::Refused),
    ("-Fd", KEY, Unknown::Refused),
];

/// The original image restored garbage: content counts, and all of it.
#[test]
fn a_wrong_bit_anywhere_is_found() {
    let server = Cluster::shared(15);
    let database = server.database("bits");
    database.fill(300);
    let mut places = Places(0x9e37_79b9_7f4a_7c15);
    let rounds =
        std::env::var("BACKUPGRAM_E2E_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(PLACES);
    for (options, key, unknown) in FORMATS {
        let what = format!("{options}, key {key:?}");
        let store = Store::new();
        let cli = |cli: Cli| cli.env("POSTGRES_EXTRA_OPTS", options).env("BACKUP_ENCRYPTION_KEY", key);
        database.sql("UPDATE orders SET note = 'good' WHERE id = 1");
        let good = database.dump();
        cli(Cli::backup(server, &store, &database.name)).run().succeeded();
        database.sql("UPDATE orders SET note = 'newer' WHERE id = 1");
        let newer = database.dump();
        let name = store.only("last");
        let file = format!("last/{name}");
        let restore = || cli(Cli::restore(server, &store, &file)).args([&database.name]).run();
        let path = store.file("last", &name);
        let verify =
            |flags: &[&str]| cli(Cli::new(server, &store)).args(["verify"]).args(flags).args([&file]).run();
        for _ in 0..rounds {
            with_a_wrong_bit(&path, &mut places, |place| {
                for outcome in [verify(&[]), restore(), verify(&["--restore"])] {
                    let code = outcome.status.and_then(|status| status.code());
                    assert_eq!(code, Some(1), "{place}\n{outcome}");
                    assert!(outcome.stderr.contains(&file), "{place}\n{outcome}");
                }
                assert!(store.manifest("last", &name)["verified"]["error"].is_string(), "{place}");
            });
        }
        verify(&["--restore"]).succeeded();
        assert!(database.dump() == newer, "{what}");
        if unknown == Unknown::NotSeen {
            continue;
        }
        fs::remove_file(store.manifest_file("last", &name)).unwrap();
        let target = format!("{}_damaged", database.name);
        for _ in 0..rounds {
            with_a_wrong_bit(&path, &mut places, |place| {
                let outcome = cli(Cli::restore(server, &store, &file)).args([&target]).run();
                if outcome.status.is_some_and(|status| status.success()) {
                    assert!(unknown == Unknown::RefusedOrHarmless, "{what}: {place}\n{outcome}");
                    assert!(server.dump(&target) == good, "{what}: {place}\n{outcome}");
                    server.sql("postgres", &format!("DROP DATABASE {target}"));
                }
                assert!(!server.has_database(&target), "{what}: {place}\n{outcome}");
            });
        }
    }
    server.assert_no_scratch_database_is_left();
}
