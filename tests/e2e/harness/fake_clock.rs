//! A wall clock that a test sets, for programs that link the C library: libfaketime stands between them and the kernel.
//! What the kernel does itself, such as writing down when a file was changed, goes by the real clock.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::command::Cli;
use super::guardian;

/// A clock that shows the real time but for so many seconds.
pub struct FakeClock {
    directory: TempDir,
}

impl FakeClock {
    /// One that is ahead of the real one by so many seconds, or behind it.
    pub fn ahead(seconds: i64) -> Self {
        let clock = Self { directory: guardian::directory("clock-") };
        clock.set_ahead(seconds);
        clock
    }

    /// Sets it, also for the programs that run by it.
    pub fn set_ahead(&self, seconds: i64) {
        let new = self.directory.path().join("new");
        fs::write(&new, format!("{seconds:+}\n")).expect("write the offset of a clock");
        fs::rename(&new, self.file()).expect("set a clock");
    }

    /// What a program must have in its environment to go by it.
    pub fn variables(&self) -> [(&'static str, PathBuf); 5] {
        let yes = || PathBuf::from("1");
        [
            ("LD_PRELOAD", library()),
            ("FAKETIME_TIMESTAMP_FILE", self.file()),
            ("FAKETIME_NO_CACHE", yes()),
            // Timeouts go by a clock that nobody sets.
            ("FAKETIME_DONT_FAKE_MONOTONIC", yes()),
            // Only some of the calls that tell the times of files would be faked.
            ("NO_FAKE_STAT", yes()),
        ]
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("offset")
    }
}

impl Cli {
    /// Goes by this clock.
    pub fn clock(self, clock: &FakeClock) -> Self {
        clock.variables().iter().fold(self, |cli, (name, value)| cli.env(name, value))
    }
}

/// Where Debian and Alpine have it.
fn library() -> PathBuf {
    let multiarch = fs::read_dir("/usr/lib").expect("list /usr/lib").flatten().map(|entry| entry.path());
    let places =
        multiarch.chain([PathBuf::from("/usr/lib")]).map(|path| path.join("faketime/libfaketimeMT.so.1"));
    let mut found = places.filter(|path| path.exists());
    found.next().expect("libfaketime is missing: run scripts/test.sh, which installs it")
}

/// Gives a file the time that a kernel whose clock is so many seconds ahead would have given it, and has its manifest say so.
pub fn write_as_if_ahead(file: &Path, manifest: &Path, seconds: i64) {
    let shift = Duration::from_secs(seconds.unsigned_abs());
    let now = SystemTime::now();
    let time = if seconds < 0 { now - shift } else { now + shift };
    fs::File::open(file).and_then(|file| file.set_modified(time)).expect("set the time of a backup");
    let text = fs::read_to_string(manifest).expect("read a manifest");
    let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let since = time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    json["modified"] = i64::try_from(since.as_nanos()).expect("before 2262").into();
    fs::write(manifest, json.to_string()).expect("write a manifest");
}
