//! Text laid out in a width: labelled fields, paragraphs, and what programs printed, word for word.

use anstyle::{AnsiColor, Style};

use crate::text::{columns, visible, wrap};

/// As the terminal has it.
pub(crate) const PLAIN: Style = Style::new();
/// Bold.
pub(crate) const BOLD: Style = Style::new().bold();
/// Less important than the rest.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// What begins every line that is shown as it was printed, and so may be wider than the page.
const GUTTER: &str = "│ ";

/// Bold and in a colour.
pub(crate) const fn bold(color: AnsiColor) -> Style {
    color.on_default().bold()
}

/// A page under construction.
pub(crate) struct Page {
    text: String,
    width: usize,
    color: bool,
}

/// How much of a long text is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    /// Lines.
    pub(crate) lines: usize,
    /// Characters of a line.
    pub(crate) columns: usize,
}

impl Page {
    /// An empty page of a width in characters.
    pub(crate) fn new(width: usize, color: bool) -> Page {
        Page { text: String::new(), width, color }
    }

    /// What was laid out.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// An empty line, unless there is one already or nothing before it.
    pub(crate) fn gap(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// A line across the page, and a gap around it.
    pub(crate) fn rule(&mut self) {
        self.gap();
        let rule = self.paint(FAINT, &"─".repeat(self.width));
        self.line(&rule);
        self.gap();
    }

    /// The characters that fit on a line.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// A text in a style.
    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        match self.color && !text.is_empty() {
            true => format!("{style}{text}{style:#}"),
            false => text.to_owned(),
        }
    }

    /// A line as it is.
    pub(crate) fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// A text, wrapped, behind a label. The text begins `column` characters into the line, and its lines align.
    pub(crate) fn field(&mut self, indent: usize, label: &str, style: Style, column: usize, text: &str) {
        let label = visible(label);
        let start = column.max(indent + columns(&label) + 1);
        let mut head = format!(
            "{}{}{}",
            " ".repeat(indent),
            self.paint(style, &label),
            " ".repeat(start - indent - columns(&label))
        );
        for line in wrap(text, self.width.saturating_sub(start)) {
            self.line(&format!("{head}{line}"));
            head = " ".repeat(start);
        }
    }

    /// A text, wrapped and indented.
    pub(crate) fn paragraph(&mut self, indent: usize, style: Style, text: &str) {
        for line in wrap(text, self.width.saturating_sub(indent)) {
            let line = self.paint(style, &line);
            self.line(&format!("{}{line}", " ".repeat(indent)));
        }
    }

    /// A text word for word, neither wrapped nor joined, down to the limit.
    pub(crate) fn verbatim(&mut self, indent: usize, text: &str, limit: Limit) {
        let gutter = format!("{}{}", " ".repeat(indent), self.paint(FAINT, GUTTER));
        let text = visible(text);
        let (mut lines, mut left) = (text.lines(), text.lines().count());
        // A note about a single line takes as much room as the line.
        let shown = if left <= limit.lines.saturating_add(1) { left } else { limit.lines };
        for line in lines.by_ref().take(shown) {
            let more = columns(line).saturating_sub(limit.columns);
            let kept: String = line.chars().take(limit.columns).collect();
            match more {
                0 => self.line(&format!("{gutter}{kept}")),
                _ => {
                    let note = self.paint(FAINT, &format!("… {more} more characters"));
                    self.line(&format!("{gutter}{kept}{note}"));
                }
            }
            left -= 1;
        }
        if left > 0 {
            self.paragraph(indent, FAINT, &format!("… {left} more lines; the JSON report has all"));
        }
    }
}
