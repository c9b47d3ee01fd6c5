//! The content coding of an answer (RFC 9110, section 8.4). Polls ask for none, and read none.

use std::fmt;

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// gzip.
    Gzip,
    /// deflate.
    Deflate,
    /// br.
    Brotli,
    /// zstd.
    Zstd,
    /// Any other, or several one after the other.
    Other,
}

impl Coding {
    /// All of them, in the order of their numbers in the shared table.
    pub(super) const ALL: [Self; 5] = [
        Self::Gzip,
        Self::Deflate,
        Self::Brotli,
        Self::Zstd,
        Self::Other,
    ];

    /// The coding that the header field `content-encoding` names; none where the body is as it is.
    #[must_use]
    pub fn of(field: &[u8]) -> Option<Self> {
        let name = field.trim_ascii().to_ascii_lowercase();
        Some(match name.as_slice() {
            b"" | b"identity" => return None,
            b"gzip" | b"x-gzip" => Self::Gzip,
            b"deflate" => Self::Deflate,
            b"br" => Self::Brotli,
            b"zstd" => Self::Zstd,
            _ => Self::Other,
        })
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Other => "an unknown coding",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_are_known_by_their_names() {
        for (field, coding) in [
            ("", None),
            (" Identity ", None),
            ("gzip", Some(Coding::Gzip)),
            ("X-GZIP", Some(Coding::Gzip)),
            ("deflate", Some(Coding::Deflate)),
            ("br", Some(Coding::Brotli)),
            ("zstd", Some(Coding::Zstd)),
            ("gzip, br", Some(Coding::Other)),
            ("compress", Some(Coding::Other)),
        ] {
            assert_eq!(Coding::of(field.as_bytes()), coding, "{field}");
        }
        assert_eq!(Coding::of(b"\xff"), Some(Coding::Other));
    }
}
