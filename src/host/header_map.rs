//! The header fields of a head, read in one look: each question to a proxy costs more than a look
//! at all of its answer.

use std::ops::Range;

/// The header fields of a head, in the order in which they came. The bytes are a client's or a pod's
/// own, and need not be UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderMap {
    bytes: Vec<u8>,
    /// Where in them each field's name is, and its value.
    places: Vec<(Range<usize>, Range<usize>)>,
}

impl HeaderMap {
    /// The fields as a proxy-wasm host hands them over: how many there are, the sizes of their names
    /// and values, and then these, each with a zero byte behind it
    /// (<https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1>). Where the end is missing,
    /// those before it.
    #[must_use]
    pub fn from_pairs(pairs: Vec<u8>) -> Self {
        let number = |place: usize| {
            let number = pairs.get(place..)?.first_chunk()?;
            usize::try_from(u32::from_le_bytes(*number)).ok()
        };
        let count = number(0).unwrap_or(0);
        let sizes = (NUMBER..).step_by(SIZES).map_while(|place| {
            let value = number(place.saturating_add(NUMBER))?;
            Some((number(place)?, value))
        });
        let mut start = count.saturating_mul(SIZES).saturating_add(NUMBER);
        let mut take = |size: usize| {
            let end = start.checked_add(size).filter(|end| *end < pairs.len())?;
            let place = start..end;
            start = end.saturating_add(1);
            Some(place)
        };
        // There are no more than there is room for the sizes of.
        let mut places = Vec::with_capacity(count.min(pairs.len() / SIZES));
        places.extend(
            sizes
                .take(count)
                .map_while(|(name, value)| Some((take(name)?, take(value)?))),
        );
        Self {
            places,
            bytes: pairs,
        }
    }

    /// The value of the first field `name`, which is in lower case; none where there is none.
    #[must_use]
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The values of all fields `name`.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let places = self.places.iter();
        let same = places.filter(move |(own, _)| self.at(own) == name.as_bytes());
        same.map(|(_, value)| self.at(value))
    }

    fn at(&self, place: &Range<usize>) -> &[u8] {
        self.bytes.get(place.clone()).unwrap_or_default()
    }
}

/// The bytes of a number, …
const NUMBER: usize = 4;
/// … and of the two sizes of a field.
const SIZES: usize = 2 * NUMBER;

#[cfg(any(test, feature = "testing"))]
impl HeaderMap {
    /// The fields of these names and values.
    #[must_use]
    pub fn of(fields: &[(&str, &[u8])]) -> Self {
        let number = |size: usize| u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes();
        let mut pairs = number(fields.len()).to_vec();
        for (name, value) in fields {
            pairs.extend(number(name.len()));
            pairs.extend(number(value.len()));
        }
        for (name, value) in fields {
            pairs.extend_from_slice(name.as_bytes());
            pairs.push(0);
            pairs.extend_from_slice(value);
            pairs.push(0);
        }
        Self::from_pairs(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_names() {
        let fields = HeaderMap::of(&[
            ("origin", b"https://a"),
            ("upgrade", b"\xff\xfe"),
            ("cookie", b""),
            ("origin", b"null"),
        ]);
        assert_eq!(fields.first("upgrade"), Some(b"\xff\xfe".as_slice()));
        assert_eq!(fields.first("cookie"), Some(b"".as_slice()));
        assert_eq!(fields.first("origin"), Some(b"https://a".as_slice()));
        let all: Vec<&[u8]> = fields.all("origin").collect();
        assert_eq!(all, [b"https://a".as_slice(), b"null"]);
        assert_eq!(fields.first("up"), None);
    }

    #[test]
    fn whatever_is_missing_is_missed() {
        let whole = HeaderMap::of(&[("a", b"1"), ("b", b"2")]).bytes;
        for end in 0..whole.len() {
            let fields = HeaderMap::from_pairs(whole[..end].to_vec());
            assert_eq!(fields.first("b"), None, "{end}");
        }
        let fields = HeaderMap::from_pairs(vec![0xff; 64]);
        assert_eq!(fields.places, []);
    }
}
