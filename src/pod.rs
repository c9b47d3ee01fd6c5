//! What is known of one pod: its address, what Envoy says of it, and its record in the table that
//! all workers share.

mod accrual;
mod address;
mod handshake_count;
mod interval;
mod line;
mod listener;
mod membership;
mod poll_state;
mod record;
mod traffic;

pub use accrual::{Accrual, Meanwhile, Outcomes, PROVEN};
pub use address::{AddressError, PodAddress};
pub(crate) use interval::Others;
pub use interval::{Interval, Judgment};
pub use line::PodLine;
pub use listener::ListenerName;
pub use membership::{
    DiscoveryFailure, Exclusion, HOST_LIST_LIMIT, HostList, LONGEST_LISTENER, Member,
    MembershipChange, Priority, Usage,
};
pub use poll_state::PollState;
pub(crate) use record::Answer;
pub use record::{PackedAddress, PodRecord, Reported};
pub use traffic::{Posting, Traffic};
