//! Variables in commands and scripts.

use std::collections::BTreeMap;

/// The variables, with what they stand for.
const KNOWN: [&str; 13] = [
    "container",
    "netns",
    "ifname",
    "network",
    "other_network",
    "args",
    "capability_args",
    "conf_dir",
    "plugin_dir",
    "plugin_path",
    "cache_dir",
    "work_dir",
    "cnitest",
];

/// What the variables stand for; one that is not set is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<&'static str, String>);

impl Values {
    /// Sets a variable. Nothing happens when there is no such variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Values {
        if let Some(name) = KNOWN.into_iter().find(|known| *known == name) {
            self.0.insert(name, value.into());
        }
        self
    }

    /// A text with every variable in braces replaced by what it stands for.
    pub fn fill(&self, text: &str) -> String {
        let (mut filled, mut rest) = (String::new(), text);
        while let Some((before, name, after)) = next(rest) {
            filled.push_str(before);
            match KNOWN.contains(&name) {
                true => filled.push_str(self.0.get(name).map_or("", String::as_str)),
                false => filled.push_str(&rest[before.len()..rest.len() - after.len()]),
            }
            rest = after;
        }
        filled + rest
    }

    /// The variables as the environment of a script has them: `CNITEST_CONF_DIR`.
    pub fn environment(&self) -> impl Iterator<Item = (String, String)> {
        KNOWN.into_iter().map(|name| {
            (format!("CNITEST_{}", name.to_uppercase()), self.0.get(name).cloned().unwrap_or_default())
        })
    }
}

/// Refuses texts with a variable that is not known; `place` is what the error names.
pub(super) fn check<'a>(place: &str, texts: impl IntoIterator<Item = &'a String>) -> Result<(), String> {
    for text in texts {
        let mut rest = text.as_str();
        while let Some((_, name, after)) = next(rest) {
            if !KNOWN.contains(&name) {
                return Err(format!("[{place}]: {{{name}}} is no variable; known are {}", KNOWN.join(", ")));
            }
            rest = after;
        }
    }
    Ok(())
}

/// The next word in braces, with what stands before and after it. Braces around anything but small letters and underscores
/// are left to the program: `{{.State}}`.
fn next(text: &str) -> Option<(&str, &str, &str)> {
    for (open, _) in text.match_indices('{') {
        let inner = &text[open + 1..];
        let close = inner.find(|c: char| !c.is_ascii_lowercase() && c != '_')?;
        if close > 0 && inner[close..].starts_with('}') {
            return Some((&text[..open], &inner[..close], &inner[close + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_and_other_braces_left_alone() {
        let values =
            Values::default().with("container", "c1").with("conf_dir", "{netns}").with("unheard-of", "x");
        for (text, filled) in [
            ("{container}", "c1"),
            ("a{container}{container}b", "ac1c1b"),
            ("{conf_dir}/{container}", "{netns}/c1"),
            ("{{.State}} {} { container } {", "{{.State}} {} { container } {"),
            ("{{container}}", "{c1}"),
            ("{args}", ""),
            ("", ""),
        ] {
            assert_eq!(values.fill(text), filled, "{text}");
        }
        assert!(values.environment().any(|pair| pair == ("CNITEST_CONTAINER".to_owned(), "c1".to_owned())));
        assert_eq!(values.environment().count(), KNOWN.len());
    }

    #[test]
    fn unknown_variables_are_refused() {
        assert_eq!(check("x", &["{container} {{.A}}".to_owned()]), Ok(()));
        assert!(check("x", &["{container}".to_owned(), "{nope}".to_owned()]).is_err());
    }
}
