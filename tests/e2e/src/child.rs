//! Programs that run beside a test, and never longer.

use std::io;
use std::process::{Child, ChildStdout, Command};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use wsbalancer_harness::end_with_parent;

/// A process that is killed when this is dropped, or when this program ends, whatever ends that.
///
/// The kernel takes the end of the *thread* that started a process for its parent's death, and the
/// caller's may be one of a pool. So each has a thread that does nothing else.
#[derive(Debug)]
pub struct Guarded {
    /// Nothing is ever sent: the guard waits for its end.
    end: Option<Sender<()>>,
    guard: Option<JoinHandle<()>>,
}

impl Guarded {
    /// Starts it; beside it stands its output, if that is piped.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn start(mut command: Command) -> io::Result<(Self, Option<ChildStdout>)> {
        end_with_parent(&mut command);
        let (end, ended) = mpsc::channel();
        let (starting, started) = mpsc::channel();
        let guard = thread::spawn(move || match command.spawn() {
            Ok(mut child) => {
                // Whoever called waits for exactly this message.
                let _ = starting.send(Ok(child.stdout.take()));
                kill_after(&ended, &mut child);
            }
            Err(error) => drop(starting.send(Err(error))),
        });
        let output = started.recv().map_err(io::Error::other)??;
        let process = Self {
            end: Some(end),
            guard: Some(guard),
        };
        Ok((process, output))
    }
}

fn kill_after(end: &Receiver<()>, child: &mut Child) {
    // Nothing is ever sent: the answer is that the sender is gone.
    let _ = end.recv();
    if let Err(error) = child.kill().and_then(|()| child.wait()) {
        eprintln!("can't end a process: {error}");
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.end.take());
        // Whatever is dropped next, the process makes no use of it any more.
        let _ended = self.guard.take().map(JoinHandle::join);
    }
}
