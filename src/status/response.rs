//! The parts that answers about the status share.

use std::borrow::Cow;

use crate::host::Response;

/// A header field.
pub(super) type Field = (&'static str, &'static str);

/// It is true for the moment only, and what it is depends on `accept`.
const NEVER_KEPT: [Field; 3] = [
    ("cache-control", "no-store"),
    ("vary", "accept"),
    ("x-content-type-options", "nosniff"),
];

/// The status itself, in some form.
pub(super) fn status(headers: &[Field], body: Vec<u8>) -> Response {
    Response {
        status: 200,
        headers: fields(headers.iter().chain(&NEVER_KEPT)),
        body,
    }
}

/// A text instead of it.
pub(super) fn text(status: u32, headers: &[Field], text: &str) -> Response {
    const PLAIN: Field = ("content-type", "text/plain; charset=utf-8");
    Response {
        status,
        headers: fields(headers.iter().chain([&PLAIN])),
        body: text.as_bytes().to_vec(),
    }
}

fn fields<'a>(fields: impl Iterator<Item = &'a Field>) -> Vec<(&'static str, Cow<'static, str>)> {
    fields
        .map(|(name, value)| (*name, Cow::Borrowed(*value)))
        .collect()
}
