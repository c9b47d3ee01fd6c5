//! The table that all workers share: its events in any order, and bytes that nobody wrote.

use arbitrary::{Arbitrary, Unstructured};
use wsbalancer::clock::Timestamp;
use wsbalancer::config::{Rules, SlowStart};
use wsbalancer::load::rank;
use wsbalancer::metric::PollFailure;
use wsbalancer::pod::{DiscoveryFailure, HostList, Member, PodAddress, Reported};
use wsbalancer::table::{Event, Table};
use wsbalancer::testing::{NOW, RULES, address};

use std::time::Duration;

const PODS: u8 = 6;

#[derive(Arbitrary, Debug)]
struct Input {
    /// What the table's bytes are changed by.
    damage: Vec<u8>,
    steps: Vec<(u8, Step)>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Chosen,
    Settled,
    Opened,
    Closed,
    Refused,
    Asked,
    Answered(Result<u64, u16>),
    Unreached,
    Listed(u8),
    NotListed,
    Wait(u16),
    Ranked,
    Read,
}

/// Whatever happens, a table that is written and read is the same. Of one that nobody has damaged the
/// estimates are numbers, and no pod has fewer than no WebSockets.
pub(crate) fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(data)) else {
        return;
    };
    let rules = Rules {
        slow_start: Some(SlowStart {
            window: Duration::from_secs(30),
            aggression: 1.0,
            min_weight_percent: 10.0,
        }),
        ..RULES
    };
    let pods: Vec<PodAddress> = (1..=PODS).map(address).collect();
    let mut bytes = Table::new(&pods).as_bytes().to_vec();
    for (byte, damage) in bytes.iter_mut().skip(4).zip(&input.damage) {
        *byte ^= damage;
    }
    let Some(mut table) = Table::from_bytes(bytes) else {
        return;
    };
    let is_sound = input.damage.iter().all(|damage| *damage == 0);
    let mut now = NOW;
    let mut opened = 0_u64;
    for (pod, step) in &input.steps {
        opened += u64::from(matches!(step, Step::Opened));
        now = happen(&mut table, &rules, address(pod % PODS + 1), step, now);
        if is_sound {
            check(&table, &rules, now, opened);
        }
    }
    let read = Table::from_bytes(table.as_bytes().to_vec());
    assert_eq!(read.as_ref(), Some(&table));
}

fn happen(
    table: &mut Table,
    rules: &Rules,
    pod: PodAddress,
    step: &Step,
    now: Timestamp,
) -> Timestamp {
    let asked_at = table.pod(pod).map_or(now, |pod| pod.poll().last_asked_at());
    let discovery_at = table.discovery().last_asked_at();
    let event = match step {
        Step::Chosen => Event::Chosen { pod },
        Step::Settled => Event::Settled { pod },
        Step::Opened => Event::Opened { pod, at: now },
        Step::Closed => Event::Closed { pod },
        Step::Refused => Event::Refused { pod, at: now },
        Step::Asked => {
            table.ask(now, |record| (record.address() == pod).then_some(now));
            table.discover(now, now);
            return now;
        }
        Step::Answered(outcome) => Event::Answered {
            pod,
            asked_at,
            outcome: outcome.map(Reported::of).map_err(PollFailure::Status),
        },
        Step::Unreached => Event::Unreached { pod, asked_at },
        Step::Listed(which) => {
            let listed = (1..=PODS).filter(|n| which >> n & 1 == 1);
            let members = listed.map(|n| Member::new(address(n))).collect();
            Event::Listed {
                asked_at: discovery_at,
                outcome: Ok(HostList {
                    members,
                    ..HostList::default()
                }),
            }
        }
        Step::NotListed => Event::Listed {
            asked_at: discovery_at,
            outcome: Err(DiscoveryFailure::NoAnswer),
        },
        Step::Wait(millis) => return now.plus(Duration::from_millis(u64::from(*millis) * 4)),
        Step::Ranked => {
            let view = table.view(rules, now);
            let mut random = fastrand::Rng::with_seed(1);
            let ranking = rank(table.pods(), 3, &view, &mut random.clone());
            assert!(ranking.best.len() <= 3);
            assert_eq!(table.rank(3, &view, &mut random), ranking);
            let _changes = table.take_state_changes(&view);
            return now;
        }
        Step::Read => {
            let mut read = Table::from_bytes(table.as_bytes().to_vec()).expect("it is one");
            assert_eq!(read, *table);
            assert_eq!(read.traffic_bytes(), table.traffic_bytes());
            read.set_traffic(table.traffic_bytes());
            assert_eq!(read, *table);
            return now;
        }
    };
    table.apply(rules, &[event]);
    now
}

fn check(table: &Table, rules: &Rules, now: Timestamp, opened: u64) {
    let view = table.view(rules, now);
    assert!(
        view.ratio >= 1.0 && view.ratio.is_finite(),
        "{}",
        view.ratio
    );
    let mut own = 0;
    for pod in table.pods() {
        own += u64::from(pod.own_connections());
        for number in [
            view.estimate(pod),
            view.estimate_at_least(pod),
            view.occupancy(pod),
        ] {
            assert!(number >= 0.0 && number.is_finite(), "{number}");
        }
        assert!(!view.reason(pod).is_empty());
    }
    assert!(own <= opened, "{own} of {opened}");
}
