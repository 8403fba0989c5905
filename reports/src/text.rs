//! Making texts fit for a terminal, an XML document and a width.

use std::borrow::Borrow;
use std::fmt::Write as _;

use serde_json::Value;

/// The text with every character that could disturb a terminal, an XML document or a reader as an escape, but for
/// line feeds and tabs.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let harmless = matches!(c, '\n' | '\t') || !(c.is_control() || is_invisible(c));
        let _ = match u32::from(c) {
            _ if harmless => out.write_char(c),
            code @ 0..=0xff => write!(out, "\\x{code:02x}"),
            code => write!(out, "\\u{{{code:x}}}"),
        };
    }
    out
}

/// Marks of width zero or that turn the direction of writing, and characters that XML forbids.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// The text in lines of at most `width` characters, broken at white space, and in words where one is too long.
/// Line feeds stay.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    for paragraph in visible(text).lines() {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && columns(&line) + 1 + columns(word) > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            for c in word.chars() {
                if columns(&line) == width {
                    lines.push(std::mem::take(&mut line));
                }
                line.push(c);
            }
        }
        lines.push(line);
    }
    lines
}

/// The characters of a text.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().count()
}

/// At most `width` characters of a text on one line; `…` stands for the rest.
pub(crate) fn clip(text: &str, width: usize) -> String {
    let text = visible(text).replace(['\n', '\t'], " ");
    if columns(&text) <= width {
        return text;
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A text in which nothing is mark-up of HTML or XML, also within quotation marks.
pub(crate) fn unmarked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// `1 case`, `2 cases`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The first `shown` items, and how many more there are.
pub(crate) fn some_of<S: Borrow<str>>(items: &[S], shown: usize, separator: &str) -> String {
    match items.len() {
        // Naming the last one takes no more room than counting it.
        length if length <= shown + 1 => items.join(separator),
        length => format!("{} and {} more", items[..shown].join(separator), length - shown),
    }
}

/// A time in milliseconds for a reader.
pub(crate) fn duration(milliseconds: f64) -> String {
    match milliseconds {
        ms if ms < 9.95 => format!("{ms:.1} ms"),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        ms if ms < 59_950.0 => format!("{:.1} s", ms / 1000.0),
        ms => {
            let seconds = (ms / 1000.0).round() as u64;
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
    }
}

/// The document indented when it is JSON, and otherwise, or if that would hide anything but white space, the text.
pub(crate) fn indented(text: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
    // A repeated key or an unusual escape is there no more after parsing, but matters to who sees the report.
    match serde_json::to_string_pretty(&value) {
        Ok(pretty) if squeezed(&pretty) == squeezed(text) => pretty,
        _ => text.to_owned(),
    }
}

/// JSON without the white space between its tokens.
fn squeezed(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |c: &char| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = in_string,
            '"' => in_string = !in_string,
            _ => {}
        }
        in_string || !c.is_ascii_whitespace()
    };
    json.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(visible("a\u{1b}[31m\r\n\tb\u{85}\u{202e}é"), "a\\x1b[31m\\x0d\n\tb\\x85\\u{202e}é");
    }

    #[test]
    fn words_stay_whole_where_they_fit() {
        assert_eq!(wrap("one two  three\nfour", 8), ["one two", "three", "four"]);
        assert_eq!(wrap("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
        assert_eq!(wrap("a\n\nb", 4), ["a", "", "b"]);
        assert!(wrap("", 4).is_empty());
    }

    #[test]
    fn json_is_indented_unless_that_hides_something() {
        assert_eq!(indented(r#"{"a":[1.50,"x y"]}"#), "{\n  \"a\": [\n    1.50,\n    \"x y\"\n  ]\n}");
        for odd in [r#"{"a":1,"a":2}"#, r#"{"\u0061":1}"#, "{} {}", "no", "", "[[["] {
            assert_eq!(indented(odd), odd);
        }
    }

    #[test]
    fn times_are_short() {
        let shown: Vec<String> =
            [0.04, 9.949, 9.96, 999.4, 999.6, 59_949.0, 59_960.0, 3_600_000.0].map(duration).into();
        assert_eq!(
            shown,
            ["0.0 ms", "9.9 ms", "10 ms", "999 ms", "1.0 s", "59.9 s", "1 min 0 s", "60 min 0 s"]
        );
    }

    #[test]
    fn lists_are_cut_only_where_it_helps() {
        assert_eq!(some_of(&["a", "b", "c"], 2, ", "), "a, b, c");
        assert_eq!(some_of(&["a", "b", "c", "d"], 2, ", "), "a, b and 2 more");
        assert_eq!(clip("abcdef", 4), "abc…");
        assert_eq!((count(1, "case"), count(0, "case")), ("1 case".to_owned(), "0 cases".to_owned()));
    }

    proptest! {
        #![proptest_config(crate::testing::fixed())]

        #[test]
        fn wrapping_keeps_all_words_within_the_width(text in proptest::collection::vec(any::<char>(), 0..200), width in 1usize..50) {
            let text: String = text.into_iter().collect();
            let lines = wrap(&text, width);
            prop_assert!(lines.iter().all(|line| columns(line) <= width));
            let bare = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(bare(&lines.concat()), bare(&visible(&text)));
        }
    }
}
