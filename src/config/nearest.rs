//! Which name was meant where another is written.

/// A name that is longer is no slip of the fingers, and is not compared.
const LONGEST_NAME: usize = 40;

/// Of `names` the one that `written` is most like; none where it is like none of them.
///
/// Case, dashes and underscores make no difference: `cache_ttl` is `cacheTTL`.
pub(super) fn nearest<'names>(written: &str, names: &[&'names str]) -> Option<&'names str> {
    if written.len() > LONGEST_NAME {
        return None;
    }
    let letters = letters(written);
    // A third of the letters, and two that changed places in a short name.
    let limit = (letters.len() / 3).max(2);
    let distances = names.iter().map(|name| (distance(&letters, name), *name));
    let (distance, name) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= limit && distance < letters.len()).then_some(name)
}

fn letters(name: &str) -> Vec<char> {
    let letters = name.chars().filter(|c| c.is_alphanumeric());
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

/// How many letters to put in, take out or change (Levenshtein's distance).
fn distance(from: &[char], name: &str) -> usize {
    let to = letters(name);
    // The distances from the letters so far to each beginning of the name.
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for letter in from {
        let mut cells = row.iter_mut();
        let Some(first) = cells.next() else { break };
        let mut left = first.saturating_add(1);
        let mut diagonal = std::mem::replace(first, left);
        for (above, other) in cells.zip(&to) {
            let changed = diagonal.min(left).min(*above).saturating_add(1);
            left = if letter == other { diagonal } else { changed };
            diagonal = std::mem::replace(above, left);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 5] = [
        "refreshInterval",
        "cacheTTL",
        "metricTimeout",
        "metricHost",
        "json",
    ];

    #[test]
    fn slips_are_understood() {
        for (written, meant) in [
            ("refreshIntervall", Some("refreshInterval")),
            ("refresh_interval", Some("refreshInterval")),
            ("refreshinterval", Some("refreshInterval")),
            ("refreshRate", None),
            ("cachettl", Some("cacheTTL")),
            ("cacheTtl", Some("cacheTTL")),
            ("cache-ttl", Some("cacheTTL")),
            ("metrciHost", Some("metricHost")),
            ("josn", Some("json")),
            ("xml", None),
            ("", None),
            ("a", None),
        ] {
            assert_eq!(nearest(written, &NAMES), meant, "{written}");
        }
        assert_eq!(nearest("a", &[]), None);
    }

    #[test]
    fn distances_are_levenshteins() {
        for (from, to, expect) in [
            ("kitten", "sitting", 3),
            ("saturday", "sunday", 3),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abc", "abc", 0),
        ] {
            assert_eq!(distance(&letters(from), to), expect, "{from} {to}");
        }
    }

    proptest! {
        #[test]
        fn no_name_is_too_much(written in "\\PC{0,60}") {
            let _either = nearest(&written, &NAMES);
        }
    }
}
