//! The name of a listener inside Envoy, as it stands in shared data: of a fixed layout.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::membership::LONGEST_LISTENER;

/// The listener that internal pods are behind; empty where there are none.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ListenerName {
    length: u8,
    name: [u8; LONGEST_LISTENER],
}

impl ListenerName {
    /// Keeps `name`, as far as there is room.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut new = Self::new_zeroed();
        let kept = new.name.iter_mut().zip(name.as_bytes());
        let length = kept.map(|(kept, byte)| *kept = *byte).count();
        // It is at most as long as the array.
        new.length = u8::try_from(length).unwrap_or(0);
        new
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let name = self.name.get(..self.length.into()).unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }
}
