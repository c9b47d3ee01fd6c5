//! The hosts of a cluster, as Envoy's admin interface lists them.

use std::collections::BTreeSet;

use wsbalancer::discovery;
use wsbalancer::host::Answer;
use wsbalancer::pod::{DiscoveryFailure, LONGEST_LISTENER};
use wsbalancer::table::Table;
use wsbalancer::testing::{NOW, RULES};

/// Each pod is listed once, and a table has them all, in their order and with what Envoy says of them.
pub(crate) fn run(data: &[u8]) {
    let answer = Answer::Response {
        status: 200,
        body: data,
    };
    match discovery::read("chat", answer) {
        Ok(list) => {
            let different: BTreeSet<_> = list.members.iter().map(|member| member.pod).collect();
            assert_eq!(different.len(), list.members.len());
            assert!(list.listener.len() <= LONGEST_LISTENER);
            let mut table = Table::new(&[]);
            let change = table.reset(&list.members, &RULES, NOW);
            assert_eq!((change.added, change.removed), (list.members.len(), 0));
            let table = Table::from_bytes(table.as_bytes().to_vec()).expect("it is one");
            assert_eq!(table.pods().len(), list.members.len());
            for (record, member) in table.pods().iter().zip(&list.members) {
                assert_eq!(record.address(), member.pod);
                assert_eq!(record.exclusion(), member.exclusion);
                assert_eq!(record.priority(), member.priority);
                assert!(record.weight() > 0.0);
            }
        }
        Err(failure) => {
            assert_eq!(DiscoveryFailure::from_code(failure.code()), Some(failure));
        }
    }
}
