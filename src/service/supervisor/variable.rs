//! What supervisor and go-cron agree on. Imports nothing, so that both may import it.

/// Environment variable of go-cron: the process ID of the supervisor that restarts it. go-cron exits when that process
/// is gone.
pub const SUPERVISOR_VARIABLE: &str = "BACKUPGRAM_SUPERVISOR";
