//! gpg as anybody would use it on a command line.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::guardian;

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
