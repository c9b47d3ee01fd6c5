//! What the messages carry.
//!
//! The bytes follow from the connection's number and the message's number alone, and those
//! of any two messages differ (from a few bytes on): an echo that went to the wrong
//! connection, or came in the wrong order, is as wrong as a garbled one.

use std::iter;

use fastrand::Rng;
use tokio_tungstenite::tungstenite::Message;

/// The kind of data message (RFC 6455, section 5.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MessageKind {
    /// Any bytes.
    #[default]
    Binary,
    /// Letters and digits.
    Text,
}

impl MessageKind {
    /// The message number `number` of connection number `connection`, of `size` bytes.
    pub(crate) fn message(self, connection: u32, number: u32, size: usize) -> Message {
        let mut random = Rng::with_seed((u64::from(connection) << 32) | u64::from(number));
        match self {
            Self::Binary => {
                let mut bytes = vec![0; size];
                random.fill(&mut bytes);
                Message::binary(bytes)
            }
            Self::Text => {
                let text: String = iter::repeat_with(|| random.alphanumeric())
                    .take(size)
                    .collect();
                Message::text(text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn messages_have_their_size_and_kind() {
        for size in [0, 1, 7, 128] {
            let binary = MessageKind::Binary.message(3, 4, size);
            assert!(binary.is_binary() && binary.len() == size);
            let text = MessageKind::Text.message(3, 4, size);
            assert!(text.is_text() && text.len() == size);
        }
    }

    #[test]
    fn no_two_messages_of_a_load_are_alike() {
        let seen: HashSet<Vec<u8>> = (0..100)
            .flat_map(|connection| (0..100).map(move |number| (connection, number)))
            .map(|(connection, number)| {
                MessageKind::Binary
                    .message(connection, number, 16)
                    .into_data()
                    .to_vec()
            })
            .collect();
        assert_eq!(seen.len(), 10_000);
    }
}
