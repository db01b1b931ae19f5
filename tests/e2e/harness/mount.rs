//! Small file systems, to fill them, and directories that are mounted read-only.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A tmpfs that is unmounted with the value.
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of `mebibytes` on an existing directory; nothing, loudly, where that is not allowed.
    pub fn mount(path: &Path, mebibytes: u32) -> Option<Self> {
        Self::with_inodes(path, mebibytes, 0)
    }

    /// The same with so many inodes; 0 stands for as many as it takes.
    pub fn with_inodes(path: &Path, mebibytes: u32, inodes: u32) -> Option<Self> {
        let options = format!("size={mebibytes}m,nr_inodes={inodes},mode=0755");
        let mounted = mount(&["-t", "tmpfs", "-o", &options, "tmpfs"], path);
        mounted.then(|| Self { path: path.to_path_buf() })
    }
}

/// Runs `mount`, and says loudly where it is not allowed.
fn mount(words: &[&str], path: &Path) -> bool {
    let output = Command::new("mount").args(words).arg(path).output().expect("start mount");
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr).into_owned();
        eprintln!("SKIPPED: a test needs a mount of its own, and mount says: {}", reason.trim_end());
    }
    output.status.success()
}

/// An ext4 in a file, as a volume has it: with blocks, inodes, a journal, and the delays of all of that.
pub struct SmallExt4 {
    path: PathBuf,
}

impl SmallExt4 {
    /// Makes one of `mebibytes` in the file `image` and mounts it on an existing directory; nothing, loudly, where that is
    /// not allowed.
    pub fn mount(path: &Path, image: &Path, mebibytes: u64) -> Option<Self> {
        let file = std::fs::File::create(image).expect("make an image");
        file.set_len(mebibytes << 20).expect("make an image");
        let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image).status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: a test needs mkfs.ext4");
            return None;
        }
        let image = image.to_str().expect("UTF-8");
        mount(&["-o", "loop", image], path).then(|| Self { path: path.to_path_buf() })
    }
}

impl Drop for SmallExt4 {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

/// A directory that can also be read, and not written to, at another path or its own; unmounted with the value.
pub struct ReadOnly {
    path: PathBuf,
}

impl ReadOnly {
    /// Mounts `directory` read-only on the existing directory `path`; nothing, loudly, where that is not allowed.
    pub fn mount(directory: &Path, path: &Path) -> Option<Self> {
        let directory = directory.to_str().expect("UTF-8");
        mount(&["--bind", directory], path).then_some(())?;
        let mounted = Self { path: path.to_path_buf() };
        mount(&["-o", "remount,bind,ro"], path).then_some(mounted)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}
