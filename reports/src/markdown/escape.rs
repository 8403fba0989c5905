//! Texts that Markdown must not read as mark-up.

use crate::text::visible;

/// A text on one line, to be read as it is.
pub(crate) fn prose(text: &str) -> String {
    let text = visible(text);
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut out = String::new();
    let text: Vec<char> = words.join(" ").chars().collect();
    for (at, c) in text.iter().enumerate() {
        let word = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(|c| c.is_alphanumeric());
        let special = match c {
            '\\' | '`' | '*' | '<' | '>' | '[' | ']' | '|' | '~' | '&' => true,
            // An underscore within a word is one.
            '_' => !(word(at.checked_sub(1)) && word(Some(at + 1))),
            // Only where it could begin a heading, a list or a quotation.
            '#' | '-' | '+' => at == 0,
            _ => false,
        };
        if special {
            out.push('\\');
        }
        out.push(*c);
    }
    out
}

/// A text on one line, as code.
pub(crate) fn code(text: &str) -> String {
    let text = visible(text).replace(['\n', '\t'], " ");
    let fence = "`".repeat(longest_run(&text) + 1);
    match text.starts_with('`') || text.ends_with('`') {
        true => format!("{fence} {text} {fence}"),
        false if text.is_empty() => String::new(),
        false => format!("{fence}{text}{fence}"),
    }
}

/// Lines as a block of code.
pub(crate) fn block(text: &str) -> String {
    let text = visible(text);
    let fence = "`".repeat(longest_run(&text).max(2) + 1);
    format!("{fence}text\n{}\n{fence}\n", text.trim_end_matches('\n'))
}

/// What a cell of a table can hold: `prose` escapes bars, code does not.
pub(crate) fn cell(text: &str) -> String {
    let text = text.trim();
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_up_is_escaped_where_it_would_be_one() {
        assert_eq!(prose("CNI_IFNAME a%d *b* <c> [d]|e\n# f"), r"CNI_IFNAME a%d \*b\* \<c\> \[d\]\|e # f");
        assert_eq!(prose("- a_ _b"), r"\- a\_ \_b");
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(block("a\n```\nb\n"), "````text\na\n```\nb\n````\n");
        assert_eq!((cell(" "), cell("x")), ("-".to_owned(), "x".to_owned()));
    }
}
