//! The part of a table that changes with every WebSocket, as a shared value of its own: what this
//! gateway has on each pod. A choice copies this value and leaves the rest of the table alone, of which
//! each worker keeps what it last read.
//!
//! What a change costs, with `n` records and `w` workers: a choice copies 55 bytes a record out and in,
//! compares them with the last ones, 64 at a time, and looks at each pod's load once; it reads and
//! ranks anew what has changed. A poll's answer copies the whole table, some 300 bytes a record, out
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

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
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

    /// Puts it into the records: none where it has nothing of a record's pod. Whether it is of the
    /// same pods, in the same order.
    pub(super) fn put_into(&self, records: &mut [PodRecord]) -> bool {
        let mut is_same = self.entries.len() == records.len();
        let mut rest = self.entries.iter();
        for record in records {
            let is_its = |entry: &&Entry| record.is_at(entry.address);
            // Most often they stand in the same order.
            let next = rest.next().filter(is_its);
            is_same &= next.is_some();
            let entry = next.or_else(|| self.entries.iter().find(is_its));
            *record.traffic_mut() = entry.map(|entry| entry.traffic).unwrap_or_default();
        }
        is_same
    }

    /// Puts into the records what is different from the value `before`, which is of these records in
    /// this order, and tells `changed` their places. Whether it could: it is of the same pods, too.
    pub(super) fn put_changes_into(
        &self,
        records: &mut [PodRecord],
        before: &[u8],
        mut changed: impl FnMut(usize),
    ) -> bool {
        let before = entries(before);
        if before.len() != self.entries.len() || before.len() != records.len() {
            return false;
        }
        let mut from = 0;
        while let Some(different) =
            first_difference(before.as_bytes(), self.entries.as_bytes(), from)
        {
            // What is compared at a time is of several.
            let first = different.checked_div(size_of::<Entry>()).unwrap_or(0);
            let end = first.saturating_add(IN_COMPARED);
            for place in first..end {
                let (Some(old), Some(new)) = (before.get(place), self.entries.get(place)) else {
                    break;
                };
                if old == new {
                    continue;
                }
                if old.address != new.address {
                    return false;
                }
                if let Some(record) = records.get_mut(place) {
                    *record.traffic_mut() = new.traffic;
                    changed(place);
                }
            }
            from = end.saturating_mul(size_of::<Entry>());
        }
        true
    }
}

fn entries(value: &[u8]) -> &[Entry] {
    let entries = value.get(size_of::<Header>()..).unwrap_or_default();
    <[Entry]>::ref_from_bytes(entries).unwrap_or_default()
}

/// So many bytes are compared at once, …
const COMPARED: usize = 64;
/// … of so many entries at most.
const IN_COMPARED: usize = COMPARED.div_ceil(size_of::<Entry>()) + 1;

/// Where two texts of one length first differ past `from`, or fewer than [`COMPARED`] bytes before
/// that: they are compared as numbers, several at once, as to compare single bytes takes long in Wasm.
fn first_difference(one: &[u8], other: &[u8], from: usize) -> Option<usize> {
    let (chunks, rest) = one.get(from..)?.as_chunks::<COMPARED>();
    let (others, other_rest) = other.get(from..)?.as_chunks::<COMPARED>();
    let mut pairs = chunks.iter().zip(others);
    let differ = |(one, other): (&[u8; COMPARED], &[u8; COMPARED])| {
        let (ones, others) = (one.as_chunks::<8>().0, other.as_chunks::<8>().0);
        let differences = ones
            .iter()
            .zip(others)
            .map(|(one, other)| u64::from_ne_bytes(*one) ^ u64::from_ne_bytes(*other));
        differences.fold(0, |all, one| all | one) != 0
    };
    let step = pairs.position(differ);
    let step = step.or_else(|| (rest != other_rest).then_some(chunks.len()))?;
    Some(step.saturating_mul(COMPARED).saturating_add(from))
}

/// The value of shared data: what is in these records, beside a table of this revision.
pub(super) fn to_bytes(
    layout: u32,
    revision: u32,
    totals: Totals,
    records: &[PodRecord],
) -> Vec<u8> {
    let header = Header::of(layout, revision, totals);
    let size = size_of::<Entry>().saturating_mul(records.len());
    let mut bytes = Vec::with_capacity(size.saturating_add(size_of::<Header>()));
    bytes.extend_from_slice(header.as_bytes());
    for record in records {
        bytes.extend_from_slice(Entry::of(record).as_bytes());
    }
    bytes
}

/// Makes a value that of other totals, beside a table of this revision.
pub(super) fn set_totals(value: &mut [u8], layout: u32, revision: u32, totals: Totals) {
    if let Ok((header, _)) = Header::mut_from_prefix(value) {
        *header = Header::of(layout, revision, totals);
    }
}

/// Makes a value that of a record which has changed, at this place among them.
pub(super) fn set_entry(value: &mut [u8], place: usize, record: &PodRecord) {
    let entries = value.get_mut(size_of::<Header>()..).unwrap_or_default();
    if let Ok(entries) = <[Entry]>::mut_from_bytes(entries)
        && let Some(entry) = entries.get_mut(place)
    {
        *entry = Entry::of(record);
    }
}

impl Header {
    fn of(layout: u32, revision: u32, totals: Totals) -> Self {
        Self {
            layout: layout.into(),
            revision: revision.into(),
            totals,
        }
    }
}

impl Entry {
    fn of(record: &PodRecord) -> Self {
        Self {
            address: record.packed_address(),
            traffic: *record.traffic(),
        }
    }
}
