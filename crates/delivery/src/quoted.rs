//! Takes credentials out of the words of others: who refuses likes to quote what he was given ("Invalid API key: …"), and his words are kept
//! for people.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::destinations::{Fate, SendError};

/// A secret that is shorter is a word like any other.
const LEAST: usize = 6;
/// Bytes of the beginning of a longer one by which it is known where it was cut off.
const BEGINNING: usize = 16;

/// Credentials of one destination, in each form in which they may be quoted.
#[derive(Debug, Default)]
pub(crate) struct Hidden {
    /// In small letters, the longest first: a shorter one may be a piece of it.
    forms: Vec<String>,
}

impl Hidden {
    pub(crate) fn of<'s>(secrets: impl IntoIterator<Item = &'s str>) -> Self {
        let mut forms: Vec<String> = Vec::new();
        for secret in secrets {
            // Of a file with a key a line may be all that is sent.
            for text in std::iter::once(secret).chain(secret.lines()).map(str::trim).filter(|text| text.len() >= LEAST)
            {
                let json = serde_json::Value::from(text).to_string();
                let json = json.trim_matches('"');
                let encoded: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
                forms.extend([
                    text.to_owned(),
                    json.to_owned(),
                    // As PHP writes JSON.
                    json.replace('/', "\\/"),
                    encoded.replace('+', "%20"),
                    encoded,
                    STANDARD_NO_PAD.encode(text),
                ]);
            }
        }
        for form in &mut forms {
            form.make_ascii_lowercase();
        }
        forms.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        forms.dedup();
        Self { forms }
    }

    /// A text without them, however their letters are written.
    pub(crate) fn clear(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for form in &self.forms {
            // Of the same length: letters beyond ASCII stay as they are.
            let mut small = text.to_ascii_lowercase();
            let beginning = form.get(..BEGINNING).unwrap_or(form);
            while let Some(at) = small.find(beginning) {
                // Others may begin the same way.
                let end = self.forms.iter().map(|form| alike(&small[at..], form)).max().unwrap_or(0);
                text.replace_range(at..at + end.max(beginning.len()), "…");
                small = text.to_ascii_lowercase();
            }
        }
        text
    }

    pub(crate) fn failure(&self, failure: SendError) -> SendError {
        match failure {
            SendError::Later { reason, after } => SendError::Later { reason: self.clear(&reason), after },
            SendError::Pause(reason) => SendError::Pause(self.clear(&reason)),
            SendError::Refused(reason) => SendError::Refused(self.clear(&reason)),
            other @ (SendError::TooLarge | SendError::Ended) => other,
        }
    }

    pub(crate) fn fates(&self, fates: &mut [Fate]) {
        for fate in fates {
            if let Fate::Refused(reason) | Fate::Again(reason) | Fate::NoPlace(reason) = fate {
                *reason = self.clear(reason);
            }
        }
    }
}

/// Up to where both texts are the same, in bytes.
fn alike(one: &str, other: &str) -> usize {
    one.chars().zip(other.chars()).take_while(|(one, other)| one == other).map(|(one, _)| one.len_utf8()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_in_each_form_in_which_they_are_quoted() {
        let hidden = Hidden::of(["canary/a \"b\"é", "canary-1\nBEGIN\ncanary-2", "canary-1-longer", "of"]);
        for quoted in [
            "canary/a \"b\"é",
            "CANARY/A \"B\"é",
            r#"canary/a \"b\"é"#,
            r#"canary\/a \"b\"é"#,
            "canary%2Fa%20%22b%22%C3%A9",
            "canary%2Fa+%22b%22%C3%A9",
            "Y2FuYXJ5L2EgImIiw6k=",
            "canary-1",
            "Canary-2",
            "canary-1-longer",
        ] {
            let said = hidden.clear(&format!("the key “{quoted}” of nobody"));
            assert!(said.starts_with("the key “…") && said.ends_with("” of nobody"), "{quoted}: {said}");
            assert!(!said.to_lowercase().contains("canary") && !said.contains("longer"), "{quoted}: {said}");
        }
        assert_eq!(Hidden::of([]).clear("the key"), "the key");
        // Cut off by whoever quotes.
        let long = Hidden::of(["canary-of-a-key-é-of-a-vendor"]);
        for (quoted, left) in [
            ("canary-of-a-key-é-of-a", "…"),
            ("canary-of-a-key-é", "…"),
            ("canary-of-a-key-e", "…e"),
            ("canary-of-a-key-é-of-a-vendors", "…s"),
            ("canary-of-a-house", "canary-of-a-house"),
        ] {
            assert_eq!(long.clear(&format!("the key {quoted}")), format!("the key {left}"));
        }
    }
}
