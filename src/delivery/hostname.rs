//! The name of this machine, or of the container, as messages about a run have it.

/// The name, empty if the kernel does not say it.
pub(super) fn hostname() -> String {
    nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned()
}
