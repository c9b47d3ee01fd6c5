//! Which version of the module is current for a service, where several share its pods; see
//! [`Handover`](crate::table::Handover) for the whole.

use crate::clock::Timestamp;
use crate::service::Service;
use crate::shell::Shell;
use crate::table::{BEAT, Handover, Table, lease};

/// Whether this version is still current; to be asked before anything is polled.
pub fn is_still_current<S: Shell>(service: &Service<S>) -> bool {
    let own = &service.succession;
    let bytes = service.shell.read(&own.key).map(|(bytes, _)| bytes);
    let handover = Handover::from_bytes(&bytes.unwrap_or_default());
    let is_superseded = ![0, own.version].contains(&handover.current());
    own.is_current.set(own.is_current() && !is_superseded);
    own.is_current()
}

/// Tells versions of each other's doings, about once a second: at a tick, before which requests
/// have begun or have not.
pub fn consult<S: Shell>(service: &Service<S>, has_requests: bool, now: Timestamp) {
    let own = &service.succession;
    own.has_requests.set(own.has_requests.get() || has_requests);
    let waits = own.has_requests.get() && !own.is_current();
    if now.since(own.looked_at.get()) < BEAT && !waits {
        return;
    }
    let (bytes, revision) = service.shell.read(&own.key).unzip();
    let mut handover = Handover::from_bytes(&bytes.unwrap_or_default());
    let before = handover.current();
    let patience = lease(service.config.rules.refresh_interval);
    let is_news = handover.look(own.version, own.has_requests.get(), now, patience);
    handover.forget(now, patience);
    let is_current = handover.current() == own.version;
    take_in(service, &handover, before, now);
    if is_news || !handover.is_written(own.version, now, BEAT) {
        // With what was just taken in: if it is current now, others take it from here.
        handover.write(own.version, now, &service.table().part());
        let bytes = handover.to_bytes();
        if service.shell.write(&own.key, &bytes, revision).is_err() {
            // Another worker was faster: the next tick tries again.
            return;
        }
    }
    own.looked_at.set(now);
    own.has_requests.set(false);
    own.is_current.set(is_current);
    if is_current && ![0, own.version].contains(&before) {
        service.announcer.is_current(&service.config);
    }
}

/// Takes in what other versions have written, of which `current` is, or has been until now, the
/// current one.
fn take_in<S: Shell>(service: &Service<S>, handover: &Handover, current: u64, now: Timestamp) {
    let own = &service.succession;
    let has_others = handover.has_others(own.version);
    if !has_others && !own.has_others.get() {
        return;
    }
    let elsewhere = handover.open_elsewhere(own.version);
    let leader = handover.part_of(current);
    let leader = leader.filter(|part| current != own.version && !part.pods.is_empty());
    let rules = &service.config.rules;
    let is_taken = match &leader {
        // Of the pods that are listed, what others have open; and only then can counts be compared.
        Some(part) => {
            change(service, |table| table.take_pods(rules, part, now))
                && change(service, |table| table.count_elsewhere(&elsewhere))
                && change(service, |table| table.take_counts(rules, part))
        }
        None => change(service, |table| table.count_elsewhere(&elsewhere)),
    };
    // Under contention the next look tries again.
    own.has_others.set(has_others || !is_taken);
}

/// Changes the table, if that changes anything; whether it is done.
fn change<S: Shell>(service: &Service<S>, change: impl Fn(&mut Table)) -> bool {
    let table = service.table();
    let mut after = table.clone();
    change(&mut after);
    after.as_bytes() == table.as_bytes() || service.update(change).is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Config;
    use crate::load::PodState;
    use crate::pod::{PodAddress, Reported};
    use crate::table::Event;
    use crate::testing::{FakeHost, NOW, address};

    const INTERVAL: Duration = Duration::from_secs(5);

    /// Versions of the module in one process, each with one worker, and the one pod that they share.
    struct Process {
        host: FakeHost,
        versions: Vec<Service<FakeHost>>,
        now: Timestamp,
    }

    fn pod() -> PodAddress {
        address(1)
    }

    impl Process {
        fn new() -> Self {
            let host = FakeHost::at(NOW);
            Self {
                host,
                versions: Vec::new(),
                now: NOW,
            }
        }

        /// One more version, which finds its pods by itself.
        fn start(&mut self) {
            let version = u64::try_from(self.versions.len()).unwrap() + 1;
            let json = r#"{"services": [{"cluster": "chat"}],
                "discovery": {"adminCluster": "admin"}}"#;
            let mut config = Config::parse(json.as_bytes()).unwrap();
            let host = self.host.of_version(version);
            let mut service = Service::open(host, config.services.remove(0));
            service.succession.version = version;
            consult(&service, false, self.now);
            self.versions.push(service);
        }

        fn pass(&mut self, seconds: u64) {
            for _ in 0..seconds {
                self.now = self.now.plus(Duration::from_secs(1));
                self.host.set_now(self.now);
                for version in &self.versions {
                    consult(version, false, self.now);
                }
            }
        }

        fn request(&self, version: usize) {
            consult(&self.versions[version], true, self.now);
        }

        fn current(&self) -> Vec<bool> {
            let is_current = |service: &Service<_>| service.succession.is_current();
            self.versions.iter().map(is_current).collect()
        }

        /// A version asks the pod, which has a count.
        fn poll(&self, version: usize, connections: u64) {
            let service = &self.versions[version];
            if service.table().pods().is_empty() {
                let member = crate::pod::Member::new(pod());
                let rules = service.config.rules;
                service
                    .update(|table| table.reset(&[member], &rules, self.now))
                    .unwrap();
            }
            let next = self.now.plus(INTERVAL);
            service
                .update(|table| table.ask(self.now, |_| Some(next)))
                .unwrap();
            service.record(&[Event::Answered {
                pod: pod(),
                asked_at: self.now,
                outcome: Ok(Reported {
                    limit: Some(100),
                    ..Reported::of(connections)
                }),
            }]);
        }

        fn happens(&self, version: usize, event: fn(PodAddress) -> Event, times: u32) {
            for _ in 0..times {
                self.versions[version].record(&[event(pod())]);
            }
        }

        /// What a version thinks that the pod holds, and whether it may get more.
        fn estimate(&self, version: usize) -> (f64, PodState) {
            let service = &self.versions[version];
            let table = service.table();
            let view = service.view(&table, self.now);
            let pod = table.pod(pod()).unwrap();
            (view.estimate(pod), view.state(pod))
        }

        fn own(&self, version: usize) -> u32 {
            let table = self.versions[version].table();
            table.pod(pod()).unwrap().own_connections()
        }
    }

    const OPENED: fn(PodAddress) -> Event = |pod| Event::Opened { pod, at: NOW };
    const CLOSED: fn(PodAddress) -> Event = |pod| Event::Closed { pod };

    #[test]
    fn a_new_version_has_pods_and_counts_before_it_polls() {
        let mut process = Process::new();
        process.start();
        process.poll(0, 42);
        process.pass(1);
        process.start();
        assert_eq!(process.current(), [true, false]);
        assert_eq!(process.estimate(1), (42.0, PodState::Usable));
        process.poll(0, 100);
        process.pass(1);
        assert_eq!(process.estimate(1), (100.0, PodState::Full));
    }

    #[test]
    fn the_version_is_current_to_which_requests_come() {
        let mut process = Process::new();
        process.start();
        process.poll(0, 42);
        process.pass(1);
        process.start();
        process.pass(5);
        assert_eq!(process.current(), [true, false], "it is still warming");
        process.request(1);
        process.pass(1);
        assert_eq!(process.current(), [false, true]);
        process.request(0);
        process.pass(1);
        assert_eq!(process.current(), [false, true], "its listener drains");
        process.poll(1, 43);
        process.pass(2);
        assert_eq!(process.estimate(0).0, 43.0, "and it has what it needs");
    }

    #[test]
    fn who_is_superseded_polls_no_more_at_once() {
        let mut process = Process::new();
        process.start();
        process.poll(0, 42);
        process.pass(1);
        process.start();
        assert!(is_still_current(&process.versions[0]));
        process.request(1);
        assert!(!is_still_current(&process.versions[0]));
        assert!(is_still_current(&process.versions[1]));
    }

    #[test]
    fn versions_know_what_others_open_and_close() {
        let mut process = Process::new();
        process.start();
        process.poll(0, 10);
        process.happens(0, OPENED, 10);
        process.poll(0, 20);
        process.pass(1);
        process.start();
        process.request(1);
        process.pass(1);
        assert_eq!((process.own(0), process.own(1)), (10, 10));
        assert_eq!(process.estimate(1).0, 20.0, "they are in the count");
        process.happens(1, OPENED, 3);
        process.happens(0, CLOSED, 4);
        process.pass(2);
        assert_eq!((process.own(0), process.own(1)), (9, 9));
    }

    #[test]
    fn what_a_version_had_goes_with_it() {
        let mut process = Process::new();
        process.start();
        process.poll(0, 0);
        process.happens(0, OPENED, 10);
        process.pass(1);
        process.start();
        process.request(1);
        process.pass(1);
        process.happens(1, OPENED, 3);
        assert_eq!(process.own(1), 13);
        process.versions.remove(0);
        process.pass(12);
        assert_eq!(process.own(0), 3);
        process.pass(30);
        assert_eq!(process.own(0), 3);
    }

    #[test]
    fn a_version_alone_writes_nothing_into_its_table() {
        let mut process = Process::new();
        process.start();
        process.poll(0, 42);
        let before = process.versions[0].table();
        process.pass(30);
        process.request(0);
        assert_eq!(process.versions[0].table(), before);
        assert_eq!(process.current(), [true]);
    }
}
