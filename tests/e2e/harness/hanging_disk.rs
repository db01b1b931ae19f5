//! A disk that does not answer, as a network volume whose server has gone: its file system is a process, which is stopped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use super::guardian;
use super::loop_disk::said;
use super::process::{Process, signal_pid};
use super::wait::{SOON, wait_for, wait_until};

/// exFAT by FUSE, on a loop device; unmounted with the value.
pub struct HangingDisk {
    path: PathBuf,
    device: String,
    pid: u32,
}

impl HangingDisk {
    /// Makes one of `mebibytes` beside the existing directory `path`, and mounts it there; nothing, loudly, where that
    /// cannot be done.
    pub fn mount(path: &Path, mebibytes: u64) -> Option<Self> {
        let image = path.with_extension("image");
        File::create(&image).expect("make an image").set_len(mebibytes << 20).expect("make an image");
        let image = image.to_str().expect("UTF-8");
        let device = said("mkfs.exfat", &[image]).and_then(|_| said("losetup", &["--find", "--show", image]));
        let mounted = device.and_then(|device| {
            let path = path.to_str().expect("UTF-8");
            match said("mount.exfat-fuse", &[&device, path]) {
                Ok(_) => Ok(device),
                Err(reason) => said("losetup", &["--detach", &device]).and(Err(reason)),
            }
        });
        let device = mounted
            .inspect_err(|reason| eprintln!("SKIPPED: a test needs a disk that can hang: {reason}"))
            .ok()?;
        let pid = wait_for("the process of the file system", SOON, || serving(&device));
        guardian::watch(pid, "CONT");
        Some(Self { path: path.to_path_buf(), device, pid })
    }

    /// From now on whoever asks it for anything waits.
    pub fn hang(&self) {
        signal_pid(self.pid, Signal::SIGSTOP);
        wait_until("the file system to be stopped", SOON, || {
            Process::find(self.pid).is_some_and(|process| process.state == 'T')
        });
    }

    /// It answers again.
    pub fn go_on(&self) {
        signal_pid(self.pid, Signal::SIGCONT);
    }
}

/// The process that serves the file system on this device.
fn serving(device: &str) -> Option<u32> {
    let words = |process: &Process| fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
    let is_it = |process: &Process| {
        process.name.starts_with("mount.exfat")
            && words(process).split(|byte| *byte == 0).any(|word| word == device.as_bytes())
    };
    Process::all().into_iter().find(is_it).map(|process| process.pid)
}

impl Drop for HangingDisk {
    fn drop(&mut self) {
        self.go_on();
        guardian::forget(self.pid);
        let unmounted = |words: &[&str]| {
            Command::new("umount")
                .args(words)
                .arg(&self.path)
                .output()
                .is_ok_and(|output| output.status.success())
        };
        let _ = unmounted(&[]) || unmounted(&["-l"]);
        let _ = said("losetup", &["--detach", &self.device]);
    }
}
