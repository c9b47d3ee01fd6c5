//! WebSocket handshakes, and what becomes of those that a pod accepts.
//!
//! A WebSocket counts as open from the moment its handshake is accepted until its socket is gone.

use std::future;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::extract::FromRequestParts;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use hyper::ext::Protocol;
use serde::{Deserialize, Serialize};

use crate::status;
use crate::tally::OpenWebSocket;

/// The largest message that is echoed, in bytes, be it one frame or many.
const MESSAGE_LIMIT: usize = 64 * 1024 * 1024;
/// Every WebSocket has a buffer of this many bytes, and there are thousands of them.
const READ_BUFFER: usize = 4 * 1024;

/// What a pod does with a WebSocket handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HandshakeBehavior {
    /// Accepts it.
    #[default]
    Accept,
    /// Answers with this status and an empty body; 200 or more.
    Status(#[serde(with = "status")] StatusCode),
    /// Accepts the connection and never answers.
    Hang,
    /// Accepts it, and ends the WebSocket after this time, without a close frame.
    End(#[serde(with = "humantime_serde")] Duration),
}

/// A handshake on a path that begins like this says itself what becomes of it: `/handshake/hang`.
const OWN_BEHAVIOR: &str = "/handshake/";

impl HandshakeBehavior {
    /// What a request asks for itself by its path, if it does.
    pub(crate) fn asked_for(request: &Parts) -> Option<Self> {
        let path = request.uri.path().strip_prefix(OWN_BEHAVIOR)?;
        path.parse().ok()
    }

    /// Answers one handshake; `open` is asked for the guard of a WebSocket that is accepted.
    pub(crate) async fn answer(
        self,
        mut request: Parts,
        open: impl FnOnce() -> OpenWebSocket,
    ) -> Response {
        let end = match self {
            Self::Accept => None,
            Self::End(after) => Some(after),
            Self::Status(status) => return status.into_response(),
            Self::Hang => return future::pending().await,
        };
        let mut upgrade = match WebSocketUpgrade::from_request_parts(&mut request, &()).await {
            Ok(upgrade) => upgrade,
            Err(rejection) => return rejection.into_response(),
        };
        if let Some(protocol) = first_protocol(&request.headers) {
            upgrade.set_selected_protocol(protocol);
        }
        let guard = open();
        upgrade
            .max_message_size(MESSAGE_LIMIT)
            .max_frame_size(MESSAGE_LIMIT)
            .read_buffer_size(READ_BUFFER)
            .on_upgrade(move |socket| hold(socket, guard, end))
    }
}

/// Whether a request asks for a WebSocket: by `Upgrade` in HTTP/1.1 (RFC 6455), by extended
/// `CONNECT` in HTTP/2 (RFC 8441).
pub(crate) fn is_handshake(request: &Parts) -> bool {
    if request.version == Version::HTTP_2 {
        return request.extensions.get::<Protocol>().is_some();
    }
    request
        .headers
        .get(header::UPGRADE)
        .is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The sub-protocol that the client would like best; its list is in order of preference.
fn first_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.as_bytes();
    let first = offered.split(|byte| *byte == b',').next()?.trim_ascii();
    HeaderValue::from_bytes(first).ok()
}

/// Echoes until the WebSocket ends or is dropped, or until the pod ends it after so long; the socket
/// is gone before its guard is.
async fn hold(socket: WebSocket, guard: OpenWebSocket, end: Option<Duration>) {
    let ended = async {
        match end {
            Some(after) => tokio::time::sleep(after).await,
            None => future::pending().await,
        }
    };
    tokio::select! {
        () = echo(socket) => {}
        () = guard.dropped() => {}
        () = ended => {}
    }
}

/// Sends every message back until the WebSocket ends, however it ends.
async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        // The library answers pings and the close frame while it waits for the next message.
        if matches!(message, Message::Text(_) | Message::Binary(_))
            && socket.send(message).await.is_err()
        {
            return;
        }
    }
}

impl FromStr for HandshakeBehavior {
    type Err = anyhow::Error;

    /// Reads `accept`, `hang`, `status:CODE` or `end:TIME`.
    fn from_str(text: &str) -> anyhow::Result<Self> {
        Ok(match text.split_once(':') {
            None if text == "accept" => Self::Accept,
            None if text == "hang" => Self::Hang,
            Some(("status", code)) => Self::Status(status::parse(code)?),
            Some(("end", time)) => Self::End(
                humantime::parse_duration(time)
                    .with_context(|| format!("{time:?} is not a time: write it as 2s or 150ms"))?,
            ),
            _ => bail!("{text:?} is no way to answer: write accept, hang, status:CODE or end:TIME"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_same_behaviour_from_a_command_line_and_from_json() {
        for (argument, json) in [
            ("accept", r#""accept""#),
            ("hang", r#""hang""#),
            ("status:503", r#"{"status":503}"#),
            ("end:10ms", r#"{"end":"10ms"}"#),
        ] {
            let behavior: HandshakeBehavior = argument.parse().unwrap();
            assert_eq!(serde_json::to_string(&behavior).unwrap(), json);
        }
        assert!("refuse".parse::<HandshakeBehavior>().is_err());
    }
}
