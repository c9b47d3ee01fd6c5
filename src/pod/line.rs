//! What modules of different versions tell each other of a pod.

use zerocopy::native_endian::{F64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::membership::{Exclusion, Member, Priority};
use super::record::{NO, NO_LIMIT, PackedAddress, Reported, YES};
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

impl PodLine {
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
