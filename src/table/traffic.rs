//! The part of a table that changes with every WebSocket, as a shared value of its own: what this
//! gateway has on each pod. A choice copies this value and leaves the rest of the table alone, of which
//! each worker keeps what it last read.
//!
//! What a change costs, with `n` records and `w` workers: a choice copies 55 bytes a record out and in,
//! and looks at each record once. A poll's answer copies the whole table, some 300 bytes a record, out
//! and in, and then each worker reads it once, before its next choice. All workers wait for each other
//! while the host copies, so `w` of them that choose at once cost each other `w` such copies, and one of
//! them succeeds in each round: a try is lost only to another worker's success.

use zerocopy::native_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::pod::{PackedAddress, PodRecord, Traffic};

/// What this gateway has on all pods together, and how the workers count it.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Totals {
    /// WebSockets opened; may wrap.
    pub(super) opened: U32,
    /// How often all workers were to count anew what they have.
    pub(super) recount: U32,
    /// Whether they are at it: 1 or 0.
    pub(super) is_recounting: u8,
    /// Whether a worker came later than all others, and brought something: 1 or 0.
    pub(super) has_returned: u8,
    /// When what this gateway has was last corrected.
    pub(super) recounted_at: U64,
    /// When they are to do so again; [`Timestamp::NEVER`](crate::clock::Timestamp::NEVER) where they
    /// need not.
    pub(super) recount_again_at: U64,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    /// See [`LAYOUT`](super::LAYOUT).
    layout: U32,
    /// Of which revision the rest of the table was, at least.
    revision: U32,
    totals: Totals,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Entry {
    address: PackedAddress,
    traffic: Traffic,
}

/// A value of shared data, read.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrafficValue<'a> {
    /// Of which revision the rest of the table is, at least.
    pub(super) revision: u32,
    pub(super) totals: Totals,
    entries: &'a [Entry],
}

impl<'a> TrafficValue<'a> {
    /// What is in `bytes`; nothing where they are of another layout, or none.
    pub(super) fn read(bytes: &'a [u8], layout: u32) -> Self {
        let parts = Header::ref_from_prefix(bytes).ok();
        let parts = parts.and_then(|(header, entries)| {
            let entries = <[Entry]>::ref_from_bytes(entries).ok()?;
            (header.layout.get() == layout).then_some((header, entries))
        });
        let Some((header, entries)) = parts else {
            return Self {
                revision: 0,
                totals: Totals::default(),
                entries: &[],
            };
        };
        Self {
            revision: header.revision.get(),
            totals: header.totals,
            entries,
        }
    }

    /// Puts it into the records: none where it has nothing of a record's pod.
    pub(super) fn put_into(&self, records: &mut [PodRecord]) {
        let mut rest = self.entries.iter();
        for record in records {
            let is_its = |entry: &&Entry| record.is_at(entry.address);
            // Most often they stand in the same order.
            let next = rest.next().filter(is_its);
            let entry = next.or_else(|| self.entries.iter().find(is_its));
            *record.traffic_mut() = entry.map(|entry| entry.traffic).unwrap_or_default();
        }
    }
}

/// The value of shared data: what is in these records, beside a table of this revision.
pub(super) fn to_bytes(
    layout: u32,
    revision: u32,
    totals: Totals,
    records: &[PodRecord],
) -> Vec<u8> {
    let header = Header {
        layout: layout.into(),
        revision: revision.into(),
        totals,
    };
    let size = size_of::<Entry>().saturating_mul(records.len());
    let mut bytes = Vec::with_capacity(size.saturating_add(size_of::<Header>()));
    bytes.extend_from_slice(header.as_bytes());
    for record in records {
        let entry = Entry {
            address: record.packed_address(),
            traffic: *record.traffic(),
        };
        bytes.extend_from_slice(entry.as_bytes());
    }
    bytes
}
