//! What modules of different versions tell each other of one service.
//!
//! While a listener with a new version of the module replaces one with an old, both can share
//! a `vm_id`, and with it the shared data. Their tables have different layouts and different names,
//! so neither can read the other's. Beside the tables is this value, one for each cluster, **of
//! a layout that stays as it is in every later version**. It says
//! - which version is current, by the [rule](super::Current) that also holds between configurations:
//!   only that one polls;
//! - for each version, which pods it knows, their last counts, and what it has opened and closed on
//!   each. A version that is not current takes pods and counts from the current one, and each takes
//!   what the others open and close for this gateway's own, as it is.
//!
//! Each version writes its part about once a second.

use std::collections::BTreeMap;
use std::time::Duration;

use zerocopy::native_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::current::{Current, Look};
use crate::clock::Timestamp;
use crate::pod::{ListenerName, PodAddress, PodLine};

/// First bytes of the value. Whatever has other ones is taken for no value and replaced.
const FORMAT: u32 = 0x7773_0001;
/// So many versions have a part; the one that was written the longest ago makes way.
const MOST: usize = 4;

/// The whole value.
#[derive(Clone, Debug)]
pub struct Handover {
    current: Current,
    parts: Vec<(PartHeader, Vec<PodLine>)>,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    format: U32,
    current: Current,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct PartHeader {
    /// The layout of the version's table; not zero.
    version: U64,
    /// When this part was written.
    written_at: U64,
    /// How many [`PodLine`]s follow.
    pods: U32,
    listener: ListenerName,
}

/// What a version writes.
#[derive(Clone, Debug)]
pub struct Part {
    /// The listener inside Envoy that internal pods are behind; empty where there are none.
    pub listener: String,
    /// The pods, in Envoy's order.
    pub pods: Vec<PodLine>,
}

impl Default for Handover {
    fn default() -> Self {
        Self {
            current: Current::new_zeroed(),
            parts: Vec::new(),
        }
    }
}

impl Handover {
    /// What is in a shared value; nothing where the value is none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self::read(bytes).unwrap_or_default()
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (header, mut rest) = Header::read_from_prefix(bytes).ok()?;
        if header.format.get() != FORMAT {
            return None;
        }
        let mut parts = Vec::new();
        while !rest.is_empty() && parts.len() < MOST {
            let (part, after) = PartHeader::read_from_prefix(rest).ok()?;
            let count = usize::try_from(part.pods.get()).ok()?;
            let (lines, after) = <[PodLine]>::ref_from_prefix_with_elems(after, count).ok()?;
            parts.push((part, lines.to_vec()));
            rest = after;
        }
        Some(Self {
            current: header.current,
            parts,
        })
    }

    /// The shared value.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = Header {
            format: U32::new(FORMAT),
            current: self.current,
        };
        let mut bytes = header.as_bytes().to_vec();
        for (part, lines) in &self.parts {
            bytes.extend_from_slice(part.as_bytes());
            bytes.extend_from_slice(lines.as_bytes());
        }
        bytes
    }

    /// The version that is current; zero before there is one.
    #[must_use]
    pub fn current(&self) -> u64 {
        self.current.fingerprint()
    }

    /// Takes note that `version` has begun requests, or none; whether anything changes. A current
    /// version that has not written for `patience` is none.
    pub fn look(
        &mut self,
        version: u64,
        has_requests: bool,
        now: Timestamp,
        patience: Duration,
    ) -> bool {
        let look = Look {
            fingerprint: version,
            now,
            has_requests,
            is_abandoned: !self.is_written(self.current(), now, patience),
        };
        let after = self.current.after(&look);
        if let Some(current) = after {
            self.current = current;
        }
        after.is_some()
    }

    /// Whether `version` has written within `patience` of `now`.
    #[must_use]
    pub fn is_written(&self, version: u64, now: Timestamp, patience: Duration) -> bool {
        let part = self.part(version);
        part.is_some_and(|(part, _)| now.since(part.written_at.into()) < patience)
    }

    fn part(&self, version: u64) -> Option<&(PartHeader, Vec<PodLine>)> {
        let mut parts = self.parts.iter();
        parts.find(|(part, _)| part.version.get() == version)
    }

    /// Whether other versions than `version` have a part.
    #[must_use]
    pub fn has_others(&self, version: u64) -> bool {
        let mut parts = self.parts.iter();
        parts.any(|(part, _)| part.version.get() != version)
    }

    /// What `version` has written.
    #[must_use]
    pub fn part_of(&self, version: u64) -> Option<Part> {
        let (header, pods) = self.part(version)?;
        Some(Part {
            listener: header.listener.as_str().to_owned(),
            pods: pods.clone(),
        })
    }

    /// Writes the part of `version`.
    pub fn write(&mut self, version: u64, now: Timestamp, part: &Part) {
        let header = PartHeader {
            version: version.into(),
            written_at: now.into(),
            // No list of hosts is longer.
            pods: u32::try_from(part.pods.len()).unwrap_or(0).into(),
            listener: ListenerName::new(&part.listener),
        };
        self.parts
            .retain(|(part, _)| part.version != header.version);
        self.parts.push((header, part.pods.clone()));
        if self.parts.len() > MOST {
            self.parts.remove(0);
        }
    }

    /// Forgets versions that have not written for `patience`: their last workers have ended, and
    /// their WebSockets with them.
    pub fn forget(&mut self, now: Timestamp, patience: Duration) {
        self.parts
            .retain(|(part, _)| now.since(part.written_at.into()) < patience);
    }

    /// What versions other than `version` have open.
    #[must_use]
    pub fn open_elsewhere(&self, version: u64) -> BTreeMap<PodAddress, u32> {
        let mut open: BTreeMap<PodAddress, u32> = BTreeMap::new();
        let others = self.parts.iter();
        let others = others.filter(|(part, _)| part.version.get() != version);
        for line in others.flat_map(|(_, lines)| lines) {
            let known = open.entry(line.address.unpack()).or_default();
            *known = known.saturating_add(line.opened.get().wrapping_sub(line.closed.get()));
        }
        open
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::table::Table;
    use crate::testing::{NOW, address};

    const PATIENCE: Duration = Duration::from_secs(10);

    fn part(pods: u8) -> Part {
        let pods: Vec<PodAddress> = (1..=pods).map(address).collect();
        Part {
            listener: "inside".to_owned(),
            ..Table::new(&pods).part()
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut handover = Handover::default();
        assert!(handover.look(7, false, NOW, PATIENCE));
        handover.write(7, NOW, &part(3));
        handover.write(8, NOW, &part(0));
        let bytes = handover.to_bytes();
        let read = Handover::from_bytes(&bytes);
        assert_eq!(read.to_bytes(), bytes);
        assert_eq!(read.current(), 7);
        let seven = read.part_of(7).unwrap();
        assert_eq!((seven.listener.as_str(), seven.pods.len()), ("inside", 3));
        assert!(read.part_of(8).unwrap().pods.is_empty());
        assert!(read.part_of(9).is_none());
    }

    /// Later versions read what this one writes, so no field of it may ever change its place.
    #[test]
    fn the_layout_is_fixed() {
        let size_of = |pods| {
            let mut handover = Handover::default();
            handover.write(7, NOW, &part(pods));
            handover.to_bytes().len()
        };
        let (header, part_header, line) = (4 + 9 * 8, 8 + 8 + 4 + 64, 67);
        assert_eq!(size_of(0), header + part_header);
        assert_eq!(size_of(2), header + part_header + 2 * line);
    }

    #[test]
    fn the_current_version_gives_way_when_it_writes_no_more() {
        let mut handover = Handover::default();
        handover.look(7, false, NOW, PATIENCE);
        handover.write(7, NOW, &part(1));
        handover.look(8, false, NOW, PATIENCE);
        assert_eq!(handover.current(), 7);
        handover.look(8, false, NOW.plus(PATIENCE), PATIENCE);
        assert_eq!(handover.current(), 8);
    }

    #[test]
    fn old_parts_make_way_and_are_forgotten() {
        let mut handover = Handover::default();
        for version in 1..=9 {
            handover.write(version, NOW.plus(Duration::from_secs(version)), &part(1));
        }
        assert_eq!(handover.parts.len(), MOST);
        assert!(handover.part_of(5).is_none());
        handover.forget(NOW.plus(Duration::from_secs(17)), PATIENCE);
        assert!(handover.part_of(7).is_none());
        assert!(handover.has_others(8));
        assert!(handover.part_of(8).is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut value = FORMAT.to_ne_bytes().to_vec();
            value.extend(bytes);
            let read = Handover::from_bytes(&value);
            let again = Handover::from_bytes(&read.to_bytes());
            prop_assert_eq!(again.to_bytes(), read.to_bytes());
        }
    }
}
