//! Status codes as people write them: a number that can end an exchange.
//!
//! Past this module a [`StatusCode`] is 200 or more. A server that sends an informational
//! status as its last word leaves its client waiting, which is no failure anybody switches on.

use anyhow::{Context, ensure};
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer, Serializer, de};

/// The status in a text such as `503`.
///
/// # Errors
///
/// Fails where the text is not a number from 200 to 999.
pub(crate) fn parse(text: &str) -> anyhow::Result<StatusCode> {
    let number = text
        .parse()
        .with_context(|| format!("{text:?} is not a status: write a number such as 503"))?;
    from_number(number)
}

fn from_number(number: u16) -> anyhow::Result<StatusCode> {
    ensure!(
        (200..=999).contains(&number),
        "{number} is not the status of a final response: write 200 to 999"
    );
    Ok(StatusCode::from_u16(number)?)
}

/// Writes the status as its number.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's `with` passes references"
)]
pub(crate) fn serialize<S: Serializer>(
    status: &StatusCode,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

/// Reads the status from its number.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<StatusCode, D::Error> {
    from_number(u16::deserialize(deserializer)?).map_err(de::Error::custom)
}
