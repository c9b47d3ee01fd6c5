//! Every pod is asked once per interval by the whole process, whoever asks.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::libc;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::task::block_in_place;
use wsbalancer_backend::{FleetConfig, Pod};
use wsbalancer_e2e::{PATIENCE, Stage};
use wsbalancer_harness::{Envoy, Sample, wait_until};

const INTERVAL: Duration = Duration::from_millis(200);

/// Counts are trusted for three intervals only, so that a gap in the polls would show as pods
/// that are down.
fn strict(sample: Sample) -> Sample {
    let millis = |intervals| Value::from(format!("{}ms", (INTERVAL * intervals).as_millis()));
    sample
        .option("cacheTTL", millis(3))
        .option("refreshInterval", millis(1))
}

fn polls(stage: &Stage) -> Vec<u64> {
    stage.pods().iter().map(Pod::polls).collect()
}

/// Waits until the first pod was asked `n` times more; how often each was asked meanwhile.
async fn further_polls(stage: &Stage, n: u64) -> Result<Vec<u64>> {
    let before = polls(stage);
    let first = stage.pods().first().context("a pod")?;
    let goal = first.polls() + n;
    first.until(|counters| counters.polls >= goal).await?;
    let after = polls(stage);
    Ok(after
        .iter()
        .zip(before)
        .map(|(after, before)| after - before)
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_are_asked_once_an_interval_however_many_workers_there_are() -> Result<()> {
    let options = Envoy::options().concurrency(4);
    let stage = Stage::start_with(options, FleetConfig::local(8), strict).await?;
    stage.until_usable(8)?;

    let start = Instant::now();
    let asked = further_polls(&stage, 20).await?;
    // Four workers that each asked would be through in five intervals. A slow machine only
    // takes longer.
    assert!(start.elapsed() > INTERVAL * 18, "{:?}", start.elapsed());
    assert!(asked.iter().all(|n| (19..=21).contains(n)), "{asked:?}");

    // The poller's thread is stopped as a debugger would: it neither ticks nor takes answers.
    let appointed = block_in_place(|| stage.envoy.wait_for_log("polls the pods", PATIENCE))?;
    let poller = thread_of(&appointed)?;
    let stopped = Stopped::stop(poller)?;
    let asked = further_polls(&stage, 20).await?;
    assert!(asked.iter().all(|n| (18..=22).contains(n)), "{asked:?}");
    let log = stage.envoy.log();
    let roles: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("polls the pods"))
        .collect();
    let [_, successor] = roles.as_slice() else {
        panic!("the role moves once: {roles:#?}");
    };
    assert_ne!(thread_of(successor)?, poller);
    stopped.resume()?;

    let asked = further_polls(&stage, 20).await?;
    assert!(asked.iter().all(|n| (19..=21).contains(n)), "{asked:?}");
    let log = stage.envoy.log();
    assert!(!log.contains("is down"), "no count was ever stale");
    Ok(())
}

/// The thread that wrote a line of Envoy's log: the second field in brackets.
fn thread_of(line: &str) -> Result<Pid> {
    let thread = line.split(['[', ']']).nth(3).context("a log line")?;
    Ok(Pid::from_raw(thread.parse()?))
}

/// A thread of Envoy's that does not run. The kernel obeys only the thread that stopped it.
struct Stopped {
    resume: mpsc::Sender<()>,
    tracer: JoinHandle<Result<()>>,
}

impl Stopped {
    fn stop(thread: Pid) -> Result<Self> {
        let (resume, resumed) = mpsc::channel();
        let (stopping, stopped) = mpsc::channel();
        let tracer = std::thread::spawn(move || {
            ptrace::seize(thread, ptrace::Options::empty())?;
            wait_until("a moment at which the thread is idle", PATIENCE, || {
                stop_if_idle(thread).transpose()
            })??;
            // Nobody waits for it any more where the test has failed.
            let _waiting = stopping.send(());
            let _dropped = resumed.recv();
            Ok(ptrace::detach(thread, None)?)
        });
        stopped.recv().context("the thread was not stopped")?;
        Ok(Self { resume, tracer })
    }

    fn resume(self) -> Result<()> {
        drop(self.resume);
        self.tracer
            .join()
            .map_err(|_| anyhow::anyhow!("the tracer panicked"))?
    }
}

/// Stops a thread that waits for events; one that does something goes on.
///
/// Stopped anywhere else it might hold a lock of Envoy's, for which all others would wait for ever.
fn stop_if_idle(thread: Pid) -> Result<Option<()>> {
    ptrace::interrupt(thread)?;
    waitpid(thread, Some(WaitPidFlag::__WALL))?;
    // The number of the system call that it is in, or -1.
    let call = std::fs::read_to_string(format!("/proc/{thread}/syscall"))?;
    let call = call.split_whitespace().next().context("a system call")?;
    if IDLE.contains(&call.parse()?) {
        return Ok(Some(()));
    }
    ptrace::cont(thread, None)?;
    Ok(None)
}

/// The system calls in which a thread waits for events.
const IDLE: &[libc::c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
];
