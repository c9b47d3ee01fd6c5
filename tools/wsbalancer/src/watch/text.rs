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

/// The clean text in lines of at most so many columns, at least 1, broken between words where that is
/// possible.
pub(crate) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = vec![String::new()];
    let mut taken = 0;
    for word in clean(text).split(' ') {
        if taken > 0 && taken + 1 + width(word) > columns {
            lines.push(String::new());
            taken = 0;
        }
        for character in (taken > 0).then_some(' ').into_iter().chain(word.chars()) {
            let wanted = character.width().unwrap_or(0);
            if taken > 0 && taken + wanted > columns {
                lines.push(String::new());
                taken = 0;
            }
            taken += wanted;
            lines.last_mut().expect("there is one").push(character);
        }
    }
    lines
}

/// Texts beside each other, with this between them, in lines of at most so many columns.
pub(crate) fn flow(texts: &[String], gap: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for text in texts {
        let mut wrapped = wrap(text, columns);
        let first = wrapped.first().map_or(0, |first| width(first));
        match lines.last_mut() {
            Some(last) if width(last) + gap.len() + first <= columns => {
                *last += gap;
                *last += &wrapped.remove(0);
            }
            _ => {}
        }
        lines.append(&mut wrapped);
    }
    lines
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

/// A part of a whole, as people write it.
pub(crate) fn percent(part: f64) -> String {
    format!("{} %", rounded(part * 100.0))
}

/// How often something happens.
pub(crate) fn per_second(rate: f64) -> String {
    if rate < 9.95 {
        format!("{:.1}/s", HumanFloatCount(rate))
    } else {
        format!("{}/s", rounded(rate))
    }
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
    fn texts_are_broken_between_words_and_nothing_is_left_out() {
        for (columns, shown) in [
            (20, &["2 pods are unhealthy"][..]),
            (19, &["2 pods are", "unhealthy"]),
            (9, &["2 pods", "are", "unhealthy"]),
            (5, &["2", "pods", "are", "unhea", "lthy"]),
        ] {
            assert_eq!(wrap("2 pods are unhealthy", columns), shown);
        }
        assert_eq!(wrap("馬馬a", 3), ["馬", "馬a"]);
        assert_eq!(wrap("\u{1b}[2J", 80), ["�[2J"]);
        assert_eq!(wrap("", 0), [""]);
        let texts = ["1,234 connections", "share 33 %", "7 of 8 pods"].map(str::to_owned);
        let flowed = ["1,234 connections   share 33 %", "7 of 8 pods"];
        assert_eq!(flow(&texts, "   ", 40), flowed);
        assert_eq!(flow(&texts, "   ", 100).len(), 1);
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
