//! The one process that outlives the tests: when the test binary ends, however it ends, it stops the servers
//! and daemons that are left, unmounts what was mounted and removes every file.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use tempfile::TempDir;

/// Reads orders until its standard input ends, which is when the test binary has ended.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
watched=
while read -r order pid signal; do
    case $order in
    watch) watched="$watched $pid:$signal" ;;
    forget)
        rest=
        for entry in $watched; do [ "${entry%%:*}" = "$pid" ] || rest="$rest $entry"; done
        watched=$rest
        ;;
    esac
done
for entry in $watched; do kill -s "${entry#*:}" "${entry%%:*}"; done
tries=0
for entry in $watched; do
    while kill -0 "${entry%%:*}"; do
        tries=$((tries + 1))
        [ $tries -le 100 ] || { kill -s KILL "${entry%%:*}"; break; }
        sleep 0.1
    done
done
for root; do
    grep -F " $root/" /proc/mounts | cut -d' ' -f2 | while read -r mount; do umount -l "$mount"; done
    rm -rf "$root"
done
"#;

struct Guardian {
    root: PathBuf,
    /// In memory, where there is enough of it; else the same.
    quick_root: PathBuf,
    orders: Mutex<ChildStdin>,
    /// Never waited for: it is there to outlive us.
    _process: Child,
}

fn guardian() -> &'static Guardian {
    static GUARDIAN: OnceLock<Guardian> = OnceLock::new();
    GUARDIAN.get_or_init(|| {
        let root = public_directory(&std::env::temp_dir(), "backupgram-e2e-").keep();
        let quick_root = match has_memory(Path::new(MEMORY)) {
            true => public_directory(Path::new(MEMORY), "backupgram-e2e-").keep(),
            false => root.clone(),
        };
        let mut process = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "guardian"])
            .args([&root, &quick_root])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the guardian");
        let orders = Mutex::new(process.stdin.take().expect("the guardian's stdin is a pipe"));
        Guardian { root, quick_root, orders, _process: process }
    })
}

/// Where Linux has a file system in memory.
const MEMORY: &str = "/dev/shm";
/// So many bytes must be free in it. A container has 64 MiB of it, unless told otherwise.
const ENOUGH: u64 = 8 << 30;

fn has_memory(path: &Path) -> bool {
    use nix::sys::statfs::{TMPFS_MAGIC, statfs};
    let free = statfs(path).ok().filter(|found| found.filesystem_type() == TMPFS_MAGIC);
    free.is_some_and(|found| {
        found.blocks_available() * u64::try_from(found.block_size()).unwrap_or(0) >= ENOUGH
    })
}

fn public_directory(parent: &Path, prefix: &str) -> TempDir {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(0o755);
    tempfile::Builder::new()
        .prefix(prefix)
        .permissions(permissions)
        .tempdir_in(parent)
        .expect("make a directory")
}

fn order(text: &str) {
    let mut orders = guardian().orders.lock().expect("no thread panics while it writes an order");
    orders.write_all(text.as_bytes()).expect("write to the guardian");
}

/// A directory of the caller's own, which any user may enter.
pub fn directory(prefix: &str) -> TempDir {
    public_directory(&guardian().root, prefix)
}

/// The same for what need not lie on a disk. There a server makes a database with a tenth of the work.
pub fn quick_directory(prefix: &str) -> TempDir {
    public_directory(&guardian().quick_root, prefix)
}

/// Sends `signal` (a name such as QUIT) to `pid` when the tests end before [`forget`] is called.
pub fn watch(pid: u32, signal: &str) {
    order(&format!("watch {pid} {signal}\n"));
}

/// Leaves `pid` alone from now on: it has ended, and its number may soon be somebody else's.
pub fn forget(pid: u32) {
    order(&format!("forget {pid}\n"));
}
