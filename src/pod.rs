//! What is known of one pod: its address, what Envoy says of it, and its record in the table that
//! all workers share.

mod address;
mod membership;
mod poll_state;
mod record;

pub use address::{AddressError, PodAddress};
pub use membership::{
    DiscoveryFailure, Exclusion, HOST_LIST_LIMIT, HostList, LONGEST_LISTENER, Member,
    MembershipChange, Priority,
};
pub use poll_state::PollState;
pub(crate) use record::{Answer, Turnover};
pub use record::{Interval, PackedAddress, PodRecord, Reported};
