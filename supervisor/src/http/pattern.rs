//! Patterns of origins: `*` for any run of characters, `?` for one, over the whole text.

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<u8>);

impl Pattern {
    /// Takes a pattern; every text is one.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }

    /// True for a pattern that no origin matches, because an origin has no path.
    #[must_use]
    pub fn never_matches(&self) -> bool {
        let text = String::from_utf8_lossy(&self.0);
        text.split_once("://").is_some_and(|(_, rest)| rest.contains('/'))
    }

    /// True when the whole `text` fits. Linear in the product of both lengths.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (&self.0, text.as_bytes());
        let (mut at, mut seen) = (0, 0);
        // Where to resume when the text after the last star does not fit.
        let mut star: Option<(usize, usize)> = None;
        while seen < text.len() {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at + 1, seen));
                    at += 1;
                }
                Some(byte) if *byte == b'?' || *byte == text[seen] => {
                    at += 1;
                    seen += 1;
                }
                _ => match star {
                    Some((after, from)) => {
                        star = Some((after, from + 1));
                        at = after;
                        seen = from + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern[at..].iter().all(|byte| *byte == b'*')
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_covers_the_whole_origin() {
        for (pattern, origin, fits) in [
            ("*", "https://a.example", true),
            ("https://*.example", "https://a.b.example", true),
            ("https://*.example", "https://a.example.evil", false),
            ("http://localhost:????", "http://localhost:3000", true),
            ("http://localhost:????", "http://localhost:300", false),
            ("https://a.example", "https://a.example", true),
            ("https://a.example", "https://a.example:1", false),
            ("*a*b", "xaxbxb", true),
        ] {
            assert_eq!(Pattern::new(pattern).matches(origin), fits, "{pattern} {origin}");
        }
    }

    #[test]
    fn a_path_never_matches() {
        assert!(Pattern::new("https://a.example/app").never_matches());
        assert!(!Pattern::new("https://*.example").never_matches());
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_and_its_wildcards(text in "[a-z:/.]{0,20}", cut in 0_usize..20) {
            let cut = cut.min(text.len());
            prop_assert!(Pattern::new(&text).matches(&text));
            let opening = format!("{}*", &text[..cut]);
            prop_assert!(Pattern::new(&opening).matches(&text));
            let blanks = "?".repeat(text.len());
            prop_assert!(Pattern::new(&blanks).matches(&text));
        }
    }
}
