//! Disks with file systems that are unlike ext4, on loop devices.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A file system that does not tell `App` from `app`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By the kernel, or else by the driver for FUSE.
    Exfat,
    /// FAT with long names.
    Vfat,
    /// Directories of ext4 that do not tell case.
    Casefold,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Exfat, Self::Vfat, Self::Casefold];

    /// Whether it has neither links nor the characters that Windows has not.
    pub fn is_of_windows(self) -> bool {
        self != Self::Casefold
    }
}

/// A disk that is unmounted with the value.
pub struct LoopDisk {
    path: PathBuf,
    device: String,
}

impl LoopDisk {
    /// Makes one of `mebibytes` beside the existing directory `path`, and mounts it there; nothing, loudly, where that
    /// cannot be done.
    pub fn mount(path: &Path, kind: Kind, mebibytes: u64) -> Option<Self> {
        let image = path.with_extension("image");
        let file = File::create(&image).expect("make an image");
        file.set_len(mebibytes << 20).expect("make an image");
        let image = image.to_str().expect("UTF-8");
        let made = match kind {
            Kind::Exfat => said("mkfs.exfat", &[image]),
            Kind::Vfat => said("mkfs.vfat", &[image]),
            Kind::Casefold => said("mkfs.ext4", &["-q", "-O", "casefold", image]),
        };
        let mounted = made.and_then(|_| said("losetup", &["--find", "--show", image])).and_then(|device| {
            let disk = Self { path: path.to_path_buf(), device };
            disk.attach(kind).map(|()| disk)
        });
        mounted.inspect_err(|reason| eprintln!("SKIPPED: a test needs a disk with {kind:?}: {reason}")).ok()
    }

    fn attach(&self, kind: Kind) -> Result<(), String> {
        let path = self.path.to_str().expect("UTF-8");
        let mount = |name: &str| said("mount", &["-t", name, &self.device, path]);
        match kind {
            Kind::Exfat => {
                mount("exfat").or_else(|_| said("mount.exfat-fuse", &[&self.device, path])).map(drop)
            }
            Kind::Vfat => mount("vfat").map(drop),
            Kind::Casefold => {
                mount("ext4")?;
                std::fs::remove_dir(self.path.join("lost+found")).map_err(|error| error.to_string())?;
                said("chattr", &["+F", path]).map(drop)
            }
        }
    }
}

/// What a program answers in one line, or why it does not.
pub(super) fn said(program: &str, words: &[&str]) -> Result<String, String> {
    let output: Output =
        Command::new(program).args(words).output().map_err(|error| format!("{program}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!("{program} says: {}", text(&output.stderr))),
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let path = self.path.to_str().expect("UTF-8");
        if std::path::Path::new(&self.device).exists() {
            let _ = said("umount", &[path]).or_else(|_| said("umount", &["-l", path]));
            let _ = said("losetup", &["--detach", &self.device]);
        }
    }
}
