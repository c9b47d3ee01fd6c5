//! Sessions that begin with plain HTTP and get a WebSocket later, as those of Socket.IO:
//! which requests open one, and which carry one.
//!
//! The pod that answers the opener keeps the session, and every later request with the session's mark
//! has to reach that pod. So an opener is balanced as a WebSocket is, and what carries a session is left
//! to whoever keeps sessions on their pods, such as Envoy's `stateful_session` filter.

/// Which requests open a session, and which carry one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// What the paths of openers begin with, without a query; at least one.
    pub opened_by: Vec<String>,
    /// The marks of a session; at least one.
    pub carried_by: Vec<Mark>,
    /// The cookie by which Envoy keeps a session on its pod; none where something else does. It is
    /// taken away from what is balanced, or else it would choose the pod of the client's last session.
    pub kept_by: Option<String>,
    /// Whether the pods count a session from its opener on; otherwise from its WebSocket on.
    pub are_counted: bool,
}

/// By what a request carries a session: it is there, and not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A parameter of the query, as it stands in the URL.
    Query(String),
    /// A cookie.
    Cookie(String),
    /// A header field, its name in lower case.
    Header(String),
}

/// What a request is to the sessions of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It begins one.
    Opens,
    /// It is part of one that has begun.
    Carries,
    /// Neither.
    Other,
}

impl Sessions {
    /// What a request is, where `field` has its header fields. A handshake that carries no session is
    /// a WebSocket of its own, and opens none.
    pub fn role<'a>(&self, is_handshake: bool, field: impl Fn(&str) -> Option<&'a [u8]>) -> Role {
        let path = field(":path").unwrap_or_default();
        let mut parts = path.splitn(2, |&byte| byte == b'?');
        let path = parts.next().unwrap_or_default();
        let query = parts.next().unwrap_or_default();
        // A browser's question whether it may (OPTIONS) opens nothing.
        let can_open = || {
            let mut prefixes = self.opened_by.iter();
            prefixes.any(|prefix| path.starts_with(prefix.as_bytes()))
                && [Some(b"GET".as_slice()), Some(b"POST")].contains(&field(":method"))
        };
        if !is_handshake && !can_open() {
            return Role::Other;
        }
        let mut marks = self.carried_by.iter();
        let is_carried = marks.any(|mark| match mark {
            Mark::Query(name) => has_parameter(query, name.as_bytes()),
            Mark::Cookie(name) => {
                let cookies = field("cookie");
                cookies.is_some_and(|cookies| has_cookie(cookies, name.as_bytes()))
            }
            Mark::Header(name) => field(name).is_some_and(|value| !value.is_empty()),
        });
        match (is_carried, is_handshake) {
            (true, _) => Role::Carries,
            (false, true) => Role::Other,
            (false, false) => Role::Opens,
        }
    }
}

/// Whether a query has the parameter `name` with a value.
fn has_parameter(query: &[u8], name: &[u8]) -> bool {
    let mut parameters = query.split(|&byte| byte == b'&');
    parameters.any(|parameter| has_value(parameter, name))
}

/// Whether a `cookie` header has the cookie `name` with a value (RFC 6265, section 4.2.1).
fn has_cookie(cookies: &[u8], name: &[u8]) -> bool {
    pairs(cookies).any(|pair| has_value(pair.trim_ascii(), name))
}

/// A `cookie` header without the cookie `name`, all else as it was; none where it is not there.
#[must_use]
pub fn without_cookie(cookies: &[u8], name: &str) -> Option<Vec<u8>> {
    let is_it = |pair: &&[u8]| value_of(pair.trim_ascii(), name.as_bytes()).is_some();
    if !pairs(cookies).any(|pair| is_it(&pair)) {
        return None;
    }
    let left: Vec<&[u8]> = pairs(cookies).filter(|pair| !is_it(pair)).collect();
    Some(left.join(&b';').trim_ascii().to_vec())
}

fn pairs(cookies: &[u8]) -> impl Iterator<Item = &[u8]> {
    cookies.split(|&byte| byte == b';')
}

fn has_value(pair: &[u8], name: &[u8]) -> bool {
    value_of(pair, name).is_some_and(|value| !value.is_empty())
}

/// What follows `name` and the sign of equality.
fn value_of<'pair>(pair: &'pair [u8], name: &[u8]) -> Option<&'pair [u8]> {
    pair.strip_prefix(name)?.strip_prefix(b"=")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sessions(carried_by: &[Mark]) -> Sessions {
        Sessions {
            opened_by: vec!["/socket.io/".to_owned(), "/hub".to_owned()],
            carried_by: carried_by.to_vec(),
            kept_by: None,
            are_counted: true,
        }
    }

    fn query(name: &str) -> Mark {
        Mark::Query(name.to_owned())
    }

    fn role(sessions: &Sessions, is_handshake: bool, fields: &[(&str, &[u8])]) -> Role {
        sessions.role(is_handshake, |name| {
            let mut fields = fields.iter();
            let field = fields.find(|(field, _)| *field == name);
            field.map(|(_, value)| *value)
        })
    }

    fn of_path(method: &str, path: &str) -> Role {
        let fields = [(":method", method.as_bytes()), (":path", path.as_bytes())];
        role(&sessions(&[query("sid"), query("id")]), false, &fields)
    }

    #[test]
    fn what_opens_a_session_has_the_prefix_and_no_mark() {
        for (method, path, expect) in [
            ("GET", "/socket.io/?EIO=4&transport=polling", Role::Opens),
            ("GET", "/socket.io/", Role::Opens),
            ("POST", "/hub/negotiate?negotiateVersion=1", Role::Opens),
            ("POST", "/hub?identity=7&xid=7", Role::Opens),
            (
                "GET",
                "/socket.io/?EIO=4&sid=&transport=polling",
                Role::Opens,
            ),
            ("GET", "/socket.io/?EIO=4&sid=a", Role::Carries),
            ("POST", "/socket.io/?sid=a&EIO=4", Role::Carries),
            ("GET", "/socket.io/?SID=a", Role::Opens),
            ("OPTIONS", "/hub/negotiate", Role::Other),
            ("HEAD", "/socket.io/", Role::Other),
            ("GET", "/socket.io", Role::Other),
            ("GET", "/other?next=/socket.io/", Role::Other),
            ("GET", "/other?sid=a", Role::Other),
            ("", "", Role::Other),
        ] {
            assert_eq!(of_path(method, path), expect, "{method} {path}");
        }
    }

    #[test]
    fn a_handshake_carries_a_session_or_is_one_of_its_own() {
        let by_query = sessions(&[query("sid")]);
        for (path, expect) in [
            ("/socket.io/?transport=websocket&sid=a", Role::Carries),
            ("/elsewhere?sid=a", Role::Carries),
            ("/socket.io/?transport=websocket", Role::Other),
            ("/socket.io/?transport=websocket#sid=a", Role::Other),
        ] {
            let fields = [(":method", b"GET".as_slice()), (":path", path.as_bytes())];
            assert_eq!(role(&by_query, true, &fields), expect, "{path}");
        }
    }

    #[test]
    fn cookies_and_headers_carry_a_session() {
        let marked = sessions(&[
            Mark::Cookie("JSESSIONID".to_owned()),
            Mark::Header("x-session".to_owned()),
        ]);
        for (name, value, expect) in [
            ("cookie", "a=b; JSESSIONID=1; c=d", Role::Carries),
            ("cookie", "JSESSIONID=1", Role::Carries),
            ("cookie", "a=b;JSESSIONID=1", Role::Carries),
            ("cookie", "JSESSIONID=", Role::Opens),
            ("cookie", "JSESSIONID", Role::Opens),
            ("cookie", "XJSESSIONID=1; jsessionid=1", Role::Opens),
            ("cookie", "a=JSESSIONID=1", Role::Opens),
            ("x-session", "1", Role::Carries),
            ("x-session", "", Role::Opens),
        ] {
            let fields = [
                (":method", b"GET".as_slice()),
                (":path", b"/hub"),
                (name, value.as_bytes()),
            ];
            assert_eq!(role(&marked, false, &fields), expect, "{name}: {value}");
        }
    }

    #[test]
    fn a_cookie_goes_and_the_others_stay_as_they_were() {
        for (cookies, left) in [
            ("pod=1", Some("")),
            ("a=b; pod=\"MTA=\"; c=d", Some("a=b; c=d")),
            ("pod=1; a=b", Some("a=b")),
            ("a=b;  c = d ;pod=", Some("a=b;  c = d")),
            ("pod=1; a=b; pod=2", Some("a=b")),
            ("a=pod=1; xpod=1; pods=1; pod", None),
            ("", None),
        ] {
            let without = without_cookie(cookies.as_bytes(), "pod");
            let without = without.map(|left| String::from_utf8(left).unwrap());
            assert_eq!(without.as_deref(), left, "{cookies}");
        }
        assert_eq!(
            without_cookie(b"\xff=\xfe; pod=\xff", "pod").as_deref(),
            Some(b"\xff=\xfe".as_slice())
        );
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            prop::sample::select(vec![
                b"/socket.io/".to_vec(),
                b"sid".to_vec(),
                b"pod".to_vec(),
                b"=".to_vec(),
                b"&".to_vec(),
                b"?".to_vec(),
                b"; ".to_vec(),
            ]),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        /// Whatever stands around it and behind it.
        #[test]
        fn a_mark_is_found_among_any_bytes(before in bytes(), after in bytes(), value in 1_u8..) {
            prop_assume!(!b"&#".contains(&value));
            let path = [b"/socket.io/?", &before[..], b"&sid=", &[value], b"&", &after].concat();
            let fields = [(":method", b"GET".as_slice()), (":path", &path)];
            let by_query = sessions(&[query("sid")]);
            prop_assert_eq!(role(&by_query, false, &fields), Role::Carries);
            prop_assert_eq!(role(&by_query, true, &fields), Role::Carries);
        }

        /// No bytes are too odd, and no request has two roles: a plain one opens a session only
        /// under its prefix, and a handshake opens none.
        #[test]
        fn any_bytes_have_a_role(path in bytes(), method in bytes(), cookies in bytes()) {
            let marked = sessions(&[query("sid"), Mark::Cookie("pod".to_owned())]);
            for method in [&method[..], b"GET"] {
                let fields = [(":method", method), (":path", &path), ("cookie", &cookies)];
                prop_assert_ne!(role(&marked, true, &fields), Role::Opens);
                let opens = role(&marked, false, &fields) == Role::Opens;
                let is_under = path.starts_with(b"/socket.io/") || path.starts_with(b"/hub");
                prop_assert!(!opens || is_under && method == b"GET");
            }
        }

        /// What was taken away is gone, and nothing is taken twice.
        #[test]
        fn a_cookie_that_went_is_not_there(cookies in bytes()) {
            if let Some(left) = without_cookie(&cookies, "pod") {
                prop_assert!(left.len() < cookies.len());
                prop_assert!(!has_cookie(&left, b"pod"));
                prop_assert_eq!(without_cookie(&left, "pod"), None);
            } else {
                prop_assert!(!has_cookie(&cookies, b"pod"));
            }
        }
    }
}
