//! What modules of different versions tell each other of a pod.

use zerocopy::native_endian::{F64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::membership::{Exclusion, Member, Priority};
use super::record::{PackedAddress, PodRecord, Reported};
use crate::metric::Weight;

/// What a version says of a pod.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PodLine {
    /// Its address.
    pub address: PackedAddress,
    /// A code of what Envoy has against it; zero for nothing.
    pub exclusion: u8,
    /// See [`Member::priority`](Member::priority).
    pub priority: U16,
    /// See [`Member::weight`](Member::weight).
    pub endpoint_weight: U32,
    /// When the count was asked for; zero where there is none.
    pub counted_at: U64,
    /// The count.
    pub connections: U64,
    /// What the pod says its weight is; zero where it says nothing.
    pub weight: F64,
    /// At how many the pod says that it is full; the largest number where it says nothing.
    pub limit: U64,
    /// Whether the pod says that it drains: 0 where it says nothing, 1 for no, 2 for yes.
    pub draining: u8,
    /// WebSockets that the version's workers have opened on it; the number may wrap …
    pub opened: U32,
    /// … and those of them that have ended, or of which nobody will tell.
    pub closed: U32,
}

/// In [`PodLine::limit`].
const NO_LIMIT: u64 = u64::MAX;
/// In [`PodLine::draining`].
const UNSAID: u8 = 0;
const NO: u8 = 1;
const YES: u8 = 2;

impl PodLine {
    /// What there is to say of a pod.
    #[must_use]
    pub fn of(pod: &PodRecord) -> Self {
        let (member, reported) = (pod.member(), pod.reported());
        let (opened, closed) = pod.opened_and_closed_here();
        Self {
            address: PackedAddress::from(member.pod),
            exclusion: member.exclusion.map_or(0, Exclusion::code),
            priority: U16::new(member.priority.code()),
            endpoint_weight: U32::new(member.weight),
            counted_at: pod.counted_at().into(),
            connections: U64::new(reported.connections),
            weight: F64::new(reported.weight.map_or(0.0, Weight::get)),
            limit: U64::new(reported.limit.unwrap_or(NO_LIMIT)),
            draining: match reported.draining {
                None => UNSAID,
                Some(false) => NO,
                Some(true) => YES,
            },
            opened: U32::new(opened),
            closed: U32::new(closed),
        }
    }

    /// What Envoy says of the pod.
    #[must_use]
    pub fn member(&self) -> Member {
        Member {
            pod: self.address.unpack(),
            exclusion: Exclusion::from_code(self.exclusion),
            priority: Priority::from_code(self.priority.get()),
            weight: self.endpoint_weight.get(),
        }
    }

    /// What the pod says of itself.
    #[must_use]
    pub fn reported(&self) -> Reported {
        Reported {
            connections: self.connections.get(),
            weight: Weight::try_from(self.weight.get()).ok(),
            limit: Some(self.limit.get()).filter(|&limit| limit != NO_LIMIT),
            draining: match self.draining {
                YES => Some(true),
                NO => Some(false),
                _ => None,
            },
            body_size: 0,
        }
    }
}
