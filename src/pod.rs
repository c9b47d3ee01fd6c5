//! What is known of one pod: its address, what Envoy says of it, and its record in the table that
//! all workers share.

mod address;
mod membership;
mod poll_state;
mod record;

pub use address::{AddressError, PodAddress};
pub use membership::{
    DiscoveryFailure, Exclusion, HostList, LISTING_LIMIT, Member, MembershipChange, Priority,
};
pub use poll_state::PollState;
pub use record::{Interval, PackedAddress, PodRecord, Reported};
