//! What of a request's head makes it a WebSocket handshake, and what a pod needs of it.

use fastrand::Rng;

/// Whether a request with these `upgrade` and `connection` headers asks for a WebSocket
/// (RFC 6455, section 4.2.1). Both are lists of tokens whose case does not matter.
///
/// Envoy hands an extended CONNECT of HTTP/2 (RFC 8441) over in the same form.
#[must_use]
pub fn asks_for_websocket(upgrade: &[u8], connection: &[u8]) -> bool {
    has_token(upgrade, b"websocket") && has_token(connection, b"upgrade")
}

/// Whether a comma-separated list of tokens has `token`.
fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|&byte| byte == b',')
        .any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

/// A `sec-websocket-key`: 16 random bytes in base64 (RFC 6455, section 4.1).
///
/// Over HTTP/2 a handshake has none (RFC 8441, section 5), but a pod that speaks HTTP/1.1 asks
/// for it.
#[must_use]
pub fn key(random: &mut Rng) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    // 21 digits of six bits and one with the last two bits.
    let last = ALPHABET.iter().step_by(16);
    let mut key: String = (0..21)
        .filter_map(|_| random.choice(ALPHABET))
        .map(|&digit| char::from(digit))
        .collect();
    key.extend(random.choice(last).map(|&digit| char::from(digit)));
    key.push_str("==");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upgrades_in_any_case_and_in_lists() {
        for (upgrade, connection, expect) in [
            ("websocket", "Upgrade", true),
            ("WebSocket", "keep-alive, Upgrade", true),
            ("h2c, WEBSOCKET", "UPGRADE", true),
            ("websocket", "keep-alive", false),
            ("websockets", "upgrade", false),
            ("h2c", "upgrade", false),
            ("", "upgrade", false),
        ] {
            let asks = asks_for_websocket(upgrade.as_bytes(), connection.as_bytes());
            assert_eq!(asks, expect, "{upgrade:?} {connection:?}");
        }
        assert!(!asks_for_websocket(b"\xff\xfe", b"\xff"));
    }

    #[test]
    fn keys_are_base64_of_sixteen_bytes() {
        let mut random = Rng::with_seed(7);
        let key_of = key(&mut random);
        assert_eq!(key_of.len(), 24);
        assert!(key_of.ends_with("=="));
        assert!("AQgw".contains(key_of.as_bytes()[21] as char));
        assert_ne!(key_of, key(&mut random));
    }
}
