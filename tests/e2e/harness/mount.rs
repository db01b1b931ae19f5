//! Small file systems, to fill them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs that is unmounted with the value.
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of `mebibytes` on an existing directory; nothing, loudly, where that is not allowed.
    pub fn mount(path: &Path, mebibytes: u32) -> Option<Self> {
        let size = format!("size={mebibytes}m,mode=0755");
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path);
        let output = command.output().expect("start mount");
        if output.status.success() {
            return Some(Self { path: path.to_path_buf() });
        }
        let reason = String::from_utf8_lossy(&output.stderr).into_owned();
        eprintln!("SKIPPED: a test needs a small disk, and mount says: {}", reason.trim_end());
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
