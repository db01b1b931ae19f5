//! gpg as anybody would use it on a command line.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::guardian;
use super::store::write_script;

/// A directory with a gpg that makes keys of passphrases in less than the tenth of a second that it otherwise takes to make
/// guessing dear: the tests do so some thousand times. It is gpg itself in everything else.
pub fn quick() -> &'static Path {
    static QUICK: OnceLock<TempDir> = OnceLock::new();
    let directory = QUICK.get_or_init(|| {
        let directory = guardian::directory("gnupg-");
        let script = "#!/bin/sh\ncase \" $* \" in *' --symmetric '*) set -- \"$@\" --s2k-count=65536 ;; esac\n\
                      exec /usr/bin/gpg \"$@\"\n";
        write_script(&directory.path().join("gpg"), script);
        directory
    });
    directory.path()
}

/// Decrypts a file with a passphrase.
#[track_caller]
pub fn decrypted(file: &Path, passphrase: &str) -> Vec<u8> {
    gpg(passphrase, &["--decrypt"], file)
}

/// Encrypts a file with a passphrase and nearly everything else as gpg likes it: it would ask its agent for the count.
#[track_caller]
pub fn encrypted(file: &Path, passphrase: &str) -> Vec<u8> {
    gpg(passphrase, &["--s2k-count=1048576", "--symmetric", "--output", "-"], file)
}

fn gpg(passphrase: &str, arguments: &[&str], file: &Path) -> Vec<u8> {
    let home = guardian::directory("gpg-");
    let key = home.path().join("key");
    fs::write(&key, passphrase).expect("write the passphrase");
    let mut command = Command::new("gpg");
    command.env_clear().env("PATH", "/usr/bin:/bin").env("GNUPGHOME", home.path());
    command.args(["--batch", "--quiet", "--no-autostart", "--no-symkey-cache", "--no-permission-warning"]);
    command.args(["--pinentry-mode=loopback", "--passphrase-file"]);
    let output = command.arg(&key).args(arguments).arg(file).output().expect("start gpg");
    assert!(output.status.success(), "gpg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
