//! Directories among the temporary files whose makers were killed. Their names are a prefix, the maker's process id, a dash,
//! and anything.

use std::fs::{self, Metadata};
use std::path::Path;

/// Removes those in `place` that begin with `prefix`, whose makers are gone, and that are ours. What cannot be removed
/// stays.
pub fn sweep(place: &Path, prefix: &str, is_ours: impl Fn(&Metadata) -> bool) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(prefix)?.split_once('-'));
        let is_left = maker
            .is_some_and(|(pid, _)| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists());
        // Not what a link leads to, which is whoever's.
        if is_left && entry.metadata().is_ok_and(|found| found.is_dir() && is_ours(&found)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
