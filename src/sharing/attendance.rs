//! A worker's signs of life, and what it does about workers that give none; see
//! [`Roll`](crate::table::Roll) for the whole.

use std::time::Duration;

use crate::clock::{Timestamp, part};
use crate::service::Service;
use crate::shell::Shell;
use crate::table::{BEAT, Roll, StruckOff, Table, lease};

/// Each lost try means that another worker's succeeded.
const TRIES: usize = 32;

/// Gives a sign of life for `worker`, if one is due, and looks after those who give none.
pub fn attend<S: Shell>(service: &Service<S>, worker: u64, now: Timestamp) {
    let attendance = &service.attendance;
    let since_last = now.since(attendance.signed_at.get());
    if since_last < BEAT {
        return;
    }
    let lease = lease(service.config.rules.refresh_interval);
    if since_last > part(lease, 2) {
        attendance.judges_from.set(now.plus(lease));
    }
    let table = service.table();
    if service.recount() != table.recount() {
        // Whatever a worker changes, it takes part first; under contention it does so the next time.
        let _taken_part = service.update(|_| ());
    }
    let (bytes, version) = service.shell.read(&attendance.key).unzip();
    let mut roll = Roll::from_bytes(&bytes.unwrap_or_default());
    roll.sign(worker, now, service.recount());
    let struck_off = if now >= attendance.judges_from.get() {
        roll.strike_off(now, lease)
    } else {
        StruckOff::default()
    };
    let written = service
        .shell
        .write(&attendance.key, roll.as_bytes(), version);
    // Where another worker was faster the next tick tries again.
    if written.is_ok() {
        attendance.signed_at.set(now);
        attendance.workers.set(roll.workers());
        let before = attendance.struck_off.get();
        attendance.struck_off.set(before.and(struck_off));
        recount(service, &table, &roll, now, lease);
    }
}

/// Signs `worker` off, whose end is in order: all that it had has ended. Where others are faster again and
/// again it is taken for lost later, which changes no count.
pub fn sign_off<S: Shell>(service: &Service<S>, worker: u64) {
    service.flush();
    for _ in 0..TRIES {
        let (bytes, version) = service.shell.read(&service.attendance.key).unzip();
        let mut roll = Roll::from_bytes(&bytes.unwrap_or_default());
        let write = |roll: &Roll| {
            let key = &service.attendance.key;
            service.shell.write(key, roll.as_bytes(), version)
        };
        if !roll.sign_off(worker) || write(&roll).is_ok() {
            return;
        }
    }
}

/// Begins a recount for those who were struck off, or ends one that is complete. Under contention
/// the next sign of life tries again.
///
/// Whoever was struck off wrongly may do something before it signs again, and then end without
/// a word. So a recount follows a lease later.
fn recount<S: Shell>(
    service: &Service<S>,
    table: &Table,
    roll: &Roll,
    now: Timestamp,
    lease: Duration,
) {
    let again_at = now.plus(lease);
    let StruckOff { workers, lost } = service.attendance.struck_off.get();
    let number = service.recount();
    if workers > 0 {
        if service
            .update(|table| table.begin_recount(again_at))
            .is_ok()
        {
            service.attendance.struck_off.set(StruckOff::default());
            if lost > 0 {
                service.announcer.lost_workers(&service.shell, lost);
            }
        }
    } else if table.is_recounting() && roll.is_complete(number) {
        let _ended = service.update(|table| table.end_recount(number, now));
    } else if table.has_returned() {
        let noted = service.update(|table| table.settle_returned(now, again_at));
        if noted.is_ok() {
            service.announcer.returned_worker();
        }
    } else if table.recount_is_due(now) {
        let _begun = service.update(|table| {
            if table.recount_is_due(now) {
                table.begin_recount(Timestamp::NEVER);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;
    use crate::pod::PodRecord;
    use crate::table::Event;
    use crate::testing::{FakeHost, NOW, address};

    const SECOND: Duration = Duration::from_secs(1);

    /// Workers of one process that share two pods, asked every 5 s.
    struct Process {
        host: FakeHost,
        workers: Vec<Worker>,
        now: Timestamp,
    }

    /// One of them, and what it truly has on each pod.
    struct Worker {
        id: u64,
        service: Service<FakeHost>,
        open: [u32; 2],
        in_flight: [u32; 2],
        is_held_up: bool,
    }

    impl Worker {
        fn new(host: &FakeHost, id: u64) -> Self {
            let json = r#"{"services": [{"cluster": "chat",
                "endpoints": ["10.0.0.1:8080", "10.0.0.2:8080"]}]}"#;
            let mut config = Config::parse(json.as_bytes()).unwrap();
            let service = Service::open(host.clone(), config.services.remove(0));
            Self {
                id,
                service,
                open: [0; 2],
                in_flight: [0; 2],
                is_held_up: false,
            }
        }

        fn send(&mut self, pod: usize) {
            self.in_flight[pod] += 1;
            let pod = pod_at(pod);
            self.service.record(&[Event::Chosen { pod }]);
        }

        fn open(&mut self, pod: usize) {
            if self.in_flight[pod] > 0 {
                self.in_flight[pod] -= 1;
                self.open[pod] += 1;
                let pod = pod_at(pod);
                self.service
                    .record(&[Event::Settled { pod }, Event::Opened { pod, at: NOW }]);
            }
        }

        fn close(&mut self, pod: usize) {
            if self.open[pod] > 0 {
                self.open[pod] -= 1;
                let pod = pod_at(pod);
                self.service.record(&[Event::Closed { pod }]);
            }
        }

        /// `websockets` that are open on the first pod, and one on its way.
        fn fill(&mut self, websockets: u32) {
            for _ in 0..websockets {
                self.send(0);
                self.open(0);
            }
            self.send(0);
        }
    }

    fn pod_at(pod: usize) -> crate::pod::PodAddress {
        address(u8::try_from(pod).unwrap() + 1)
    }

    impl Process {
        fn new(workers: u64) -> Self {
            let host = FakeHost::at(NOW);
            let workers = (1..=workers).map(|id| Worker::new(&host, id)).collect();
            let mut process = Self {
                host,
                workers,
                now: NOW,
            };
            // By then each knows that it was not held up.
            process.pass(11);
            process
        }

        /// Seconds in which every worker ticks that is not held up.
        fn pass(&mut self, seconds: u32) {
            for _ in 0..seconds * 4 {
                self.now = self.now.plus(SECOND / 4);
                self.host.set_now(self.now);
                for worker in self.workers.iter().filter(|worker| !worker.is_held_up) {
                    worker.service.flush();
                    attend(&worker.service, worker.id, self.now);
                }
            }
        }

        fn pod<T>(&self, pod: usize, look: impl Fn(&PodRecord) -> T) -> T {
            let host = self.host.clone();
            let service = Worker::new(&host, 0).service;
            look(service.table().pod(pod_at(pod)).unwrap())
        }

        /// What the table has of the first pod: open, and on its way.
        fn counted(&self) -> (u32, u32) {
            self.pod(0, |pod| (pod.own_connections(), pod.in_flight()))
        }

        fn is_settled(&self) -> bool {
            let service = Worker::new(&self.host, 0).service;
            service.table().is_settled(self.now, SECOND * 5)
        }
    }

    #[test]
    fn what_a_lost_worker_had_leaves_the_counts_after_its_lease() {
        let mut process = Process::new(3);
        process.workers[0].fill(4);
        process.workers[1].fill(10);
        process.workers.remove(1);
        process.pass(9);
        assert_eq!(process.counted(), (14, 2), "it may be held up");
        process.pass(5);
        assert_eq!(process.counted(), (4, 1));
        assert_eq!(process.pod(0, PodRecord::opened), 14, "as it was");
    }

    #[test]
    fn a_worker_that_was_held_up_is_back_whole_with_its_next_tick() {
        let mut process = Process::new(2);
        process.workers[0].fill(4);
        process.workers[1].fill(10);
        process.workers[1].is_held_up = true;
        process.pass(15);
        assert_eq!(process.counted(), (4, 1));
        process.workers[1].is_held_up = false;
        process.pass(1);
        assert_eq!(process.counted(), (14, 2));
        process.pass(30);
        assert_eq!(process.counted(), (14, 2), "for good");
    }

    #[test]
    fn only_a_worker_that_ends_without_a_word_is_lost() {
        let mut process = Process::new(4);
        let lost = |process: &Process| process.host.statistic("wsbalancer.chat.workers_lost");
        process.workers[0].fill(4);
        let ended = process.workers.remove(1);
        process.host.outdate(1);
        sign_off(&ended.service, ended.id);
        process.pass(60);
        assert_eq!((lost(&process), process.counted()), (0, (4, 1)));
        // Envoy tries the configuration on it.
        let tried = Worker::new(&process.host, 9);
        attend(&tried.service, tried.id, process.now);
        process.pass(60);
        assert_eq!((lost(&process), process.counted()), (0, (4, 1)));
        process.workers.remove(1);
        process.pass(60);
        assert_eq!((lost(&process), process.counted()), (1, (4, 1)));
    }

    /// What it does comes before its tick, and is not counted twice.
    #[test]
    fn a_worker_that_was_held_up_is_back_whole_with_the_first_that_it_does() {
        let mut process = Process::new(2);
        process.workers[1].fill(10);
        process.workers[1].is_held_up = true;
        process.pass(15);
        assert_eq!(process.counted(), (0, 0));
        process.workers[1].close(0);
        assert_eq!(process.counted(), (9, 1));
        process.workers[1].open(0);
        assert_eq!(process.counted(), (10, 0));
    }

    #[test]
    fn what_is_done_while_all_count_anew_is_counted() {
        let mut process = Process::new(3);
        process.workers[0].fill(4);
        process.workers[1].fill(10);
        process.workers.remove(2);
        while !process.workers[0].service.table().is_recounting() {
            process.pass(1);
        }
        process.workers[0].open(0);
        process.workers[1].close(0);
        process.workers[0].send(0);
        process.pass(5);
        assert_eq!(process.counted(), (14, 2));
    }

    #[test]
    fn counts_that_were_just_corrected_are_not_settled() {
        let mut process = Process::new(2);
        assert!(process.is_settled());
        process.workers[1].fill(1);
        process.workers[1].is_held_up = true;
        process.pass(12);
        assert!(!process.is_settled(), "a worker is lost");
        process.pass(10);
        assert!(process.is_settled());
        process.workers[1].is_held_up = false;
        process.pass(1);
        assert!(!process.is_settled(), "it is back");
        process.pass(10);
        assert!(process.is_settled());
    }

    /// The machine slept, or the process was stopped.
    #[test]
    fn who_was_held_up_together_with_all_others_takes_nobody_for_lost() {
        let mut process = Process::new(3);
        process.workers[1].fill(10);
        process.now = process.now.plus(SECOND * 3_600);
        for _ in 0..40 {
            process.pass(1);
            assert_eq!(process.counted(), (10, 1));
        }
    }

    #[test]
    fn nothing_is_written_at_ticks_but_signs_of_life() {
        let mut process = Process::new(2);
        process.workers[0].fill(3);
        let before = process.workers[0].service.table();
        process.pass(60);
        assert_eq!(process.workers[0].service.table(), before);
    }

    proptest! {
        /// Whatever workers do, end without a word, are held up and come back: once it is quiet
        /// the table has what those have that live.
        #[test]
        fn counts_come_to_be_those_of_the_living(
            steps in prop::collection::vec((0..8_u8, 0..5_usize, 0..2_usize), 0..200),
        ) {
            let mut process = Process::new(4);
            for (step, worker, pod) in steps {
                let count = process.workers.len();
                match step {
                    0 => process.pass(1),
                    1 => process.pass(7),
                    2 if count > 1 => drop(process.workers.remove(worker % count)),
                    2 => {}
                    3 => process.workers[worker % count].is_held_up = true,
                    // Who does something goes on to tick.
                    _ => {
                        let worker = &mut process.workers[worker % count];
                        worker.is_held_up = false;
                        match step {
                            4 => worker.open(pod),
                            5 => worker.close(pod),
                            _ => worker.send(pod),
                        }
                    }
                }
            }
            for worker in &mut process.workers {
                worker.is_held_up = false;
            }
            process.pass(40);
            for pod in 0..2 {
                let open: u32 = process.workers.iter().map(|worker| worker.open[pod]).sum();
                let sent: u32 = process.workers.iter().map(|worker| worker.in_flight[pod]).sum();
                prop_assert_eq!(process.pod(pod, PodRecord::own_connections), open);
                prop_assert_eq!(process.pod(pod, PodRecord::in_flight), sent);
            }
        }
    }
}
