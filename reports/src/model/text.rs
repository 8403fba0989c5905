//! Captured bytes as text.

/// The first `cap` bytes as text, and whether there were more. What is not UTF-8 becomes U+FFFD; a character that the
/// cap would cut in two is left out.
pub fn text_of(bytes: &[u8], cap: usize) -> (String, bool) {
    if bytes.len() <= cap {
        return (String::from_utf8_lossy(bytes).into_owned(), false);
    }
    let continues = |at: usize| bytes[at] & 0b1100_0000 == 0b1000_0000;
    let boundary = (cap.saturating_sub(3)..=cap).rev().find(|at| !continues(*at)).unwrap_or(cap);
    (String::from_utf8_lossy(&bytes[..boundary]).into_owned(), true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cuts_between_characters() {
        assert_eq!(text_of("añ€😀".as_bytes(), 10), ("añ€😀".to_owned(), false));
        assert_eq!(text_of("añ€😀".as_bytes(), 9), ("añ€".to_owned(), true));
        assert_eq!(text_of("añ€😀".as_bytes(), 6), ("añ€".to_owned(), true));
        assert_eq!(text_of("añ€😀".as_bytes(), 5), ("añ".to_owned(), true));
        assert_eq!(text_of("ab".as_bytes(), 0), (String::new(), true));
    }

    #[test]
    fn shows_what_is_not_utf8() {
        assert_eq!(text_of(b"a\xffb", 10), ("a\u{fffd}b".to_owned(), false));
        assert_eq!(text_of(&[0x80; 9], 8), ("\u{fffd}".repeat(8), true));
    }

    proptest! {
        #![proptest_config(crate::testing::fixed())]

        #[test]
        fn any_text_is_cut_to_a_prefix(text: String, cap in 0usize..40) {
            let (kept, cut) = text_of(text.as_bytes(), cap);
            prop_assert!(text.starts_with(&kept));
            prop_assert!(kept.len() <= cap && cap.min(text.len()) - kept.len() < 4);
            prop_assert_eq!(cut, text.len() > cap);
        }
    }
}
