//! Texts as they are shown: nothing in them that a terminal would obey, and no longer than there
//! is room for.
//!
//! Names and reasons come from pods, which may have sent anything. All that is drawn goes through
//! [`clean`] or [`fit`].

use std::borrow::Cow;

use indicatif::{HumanCount, HumanFloatCount};
use unicode_width::UnicodeWidthChar;

/// Stands for a number that nobody told.
pub(crate) const UNKNOWN: &str = "–";
/// Stands for each character that is not shown.
const REPLACEMENT: char = '\u{fffd}';
/// Stands for the rest of a text that is too long.
const ELLIPSIS: char = '…';
/// No line is longer.
const LONGEST_TEXT: usize = 1000;

/// The text with a mark for every character that has no place of its own: those that control the
/// terminal, and those that turn, join or hide what stands beside them.
pub(crate) fn clean(text: &str) -> String {
    let shown = text.chars().map(|character| {
        if has_place(character) {
            character
        } else {
            REPLACEMENT
        }
    });
    shown.take(LONGEST_TEXT).collect()
}

/// The clean text, cut to a number of columns.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    let mut cleaned = clean(text);
    if width(&cleaned) <= columns {
        return cleaned;
    }
    // A column is for the mark that something is missing.
    let mut room = columns.saturating_sub(1);
    let end = cleaned.char_indices().find(|(_, character)| {
        let wanted = character.width().unwrap_or(0);
        let fits = wanted <= room;
        room = room.saturating_sub(wanted);
        !fits
    });
    cleaned.truncate(end.map_or(cleaned.len(), |(start, _)| start));
    if columns > 0 {
        cleaned.push(ELLIPSIS);
    }
    cleaned
}

/// How many columns a clean text takes.
pub(crate) fn width(text: &str) -> usize {
    text.chars()
        .map(|character| character.width().unwrap_or(0))
        .sum()
}

fn has_place(character: char) -> bool {
    // The separators of lines and paragraphs, and the marks of annotations, count as wide.
    let acts = matches!(character, '\u{2028}' | '\u{2029}' | '\u{fff9}'..='\u{fffb}');
    !acts && character.width().is_some_and(|columns| columns > 0)
}

/// A count with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// An estimate as a count.
pub(crate) fn rounded(number: f64) -> String {
    format!("{:.0}", HumanFloatCount(number))
}

/// A number with as many digits as it needs, three after the point at most.
pub(crate) fn exact(number: f64) -> String {
    format!("{:.3}", HumanFloatCount(number))
}

/// What was told, or the sign that it was not.
pub(crate) fn told<T>(value: Option<T>, in_words: impl Fn(T) -> String) -> Cow<'static, str> {
    value.map_or(Cow::Borrowed(UNKNOWN), |value| in_words(value).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        for (hostile, shown) in [
            ("\u{1b}[2J\u{1b}]0;title\u{7}", "�[2J�]0;title�"),
            ("a\r\nb\tc\u{0}\u{7f}", "a��b�c��"),
            ("\u{9b}31m", "�31m"),
            ("pod\u{202e}gnp\u{2066}.", "pod�gnp�."),
            ("\u{200f}\u{200b}\u{feff}\u{61c}", "����"),
            ("e\u{301}\u{301}\u{301}", "e���"),
            ("\u{2028}\u{2029}\u{85}", "���"),
            ("žluťoučký 馬 <b>", "žluťoučký 馬 <b>"),
        ] {
            assert_eq!(clean(hostile), shown);
        }
        assert_eq!(clean(&"x".repeat(10_000)).len(), LONGEST_TEXT);
    }

    #[test]
    fn a_text_that_is_too_long_ends_with_a_mark() {
        for (columns, shown) in [
            (0, ""),
            (1, "…"),
            (2, "…"),
            (3, "馬…"),
            (4, "馬a…"),
            (5, "馬a馬"),
        ] {
            assert_eq!(fit("馬a馬", columns), shown);
        }
        assert_eq!(fit("chat", 4), "chat");
    }

    #[test]
    fn numbers_are_as_people_write_them() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(rounded(1239.6), "1,240");
        assert_eq!(exact(1.02), "1.02");
        assert_eq!(exact(2.0), "2");
        assert_eq!(told(None, count), "–");
        assert_eq!(told(Some(7), count), "7");
    }
}
