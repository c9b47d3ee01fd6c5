//! The bond between a child process and its parent: the kernel ends the child, whatever ended the
//! parent.

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

/// Has the child killed when the *thread* that starts it ends: with this program, even where that
/// is killed, or before it (prctl(2), `PR_SET_PDEATHSIG`).
#[expect(
    unsafe_code,
    reason = "only between fork and exec can a child ask for its parent's death"
)]
pub fn end_with_parent(command: &mut Command) {
    let parent = getpid();
    let bond = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // A parent that died before that call sends no signal any more.
        if getppid() != parent {
            return Err(Errno::ESRCH.into());
        }
        Ok(())
    };
    // SAFETY: the closure makes two system calls and neither allocates nor takes a lock, which
    // is what is allowed in a forked child of a program with several threads.
    unsafe {
        command.pre_exec(bond);
    }
}
