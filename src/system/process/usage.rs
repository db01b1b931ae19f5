//! What the kernel counts of processes (proc(5)).

use std::fmt::Display;
use std::fs;

use nix::unistd::Pid;

/// The bytes that a process and its children have read from files so far, those of children that have ended
/// included. Nothing when it has ended, or the kernel does not say.
pub fn bytes_read(pid: Pid) -> Option<u64> {
    let counts = fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
    let own: u64 = counts.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok())?;
    let children = children_of(pid).into_iter().filter_map(bytes_read);
    Some(children.fold(own, u64::saturating_add))
}

/// The children of a process, by its id or `self`, or none where the kernel does not list them.
pub(super) fn children_of(process: impl Display) -> Vec<Pid> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let lists =
        threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let pids = lists.flat_map(|list| list.split_whitespace().map(str::parse).collect::<Vec<_>>());
    pids.flatten().map(Pid::from_raw).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    use super::*;
    use crate::system::process::test_runner;

    #[test]
    fn what_a_program_and_its_children_read_is_counted_while_it_runs() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().write_all(&[7; 1 << 20]).unwrap();
        let mut command = Command::new("sh");
        // Both have read all by then, and the second still runs. A shell gives what it leaves running another input.
        let script =
            "exec 3<&0; cat <\"$0\" >/dev/null; { cat <\"$0\" >/dev/null; echo; read x <&3; } & echo; wait";
        command.args(["-c", script]);
        command.arg(file.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = test_runner().spawn(&mut command).unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0; 2]).unwrap();
        let read = bytes_read(child.pid()).unwrap();
        assert!((2 << 20..3 << 20).contains(&read), "{read}");
        drop(child.stdin.take());
        child.wait();
        assert_eq!(bytes_read(child.pid()), None);
    }
}
