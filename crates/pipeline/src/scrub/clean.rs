//! Remembers texts that passed: a site says the same few hundred again and again. Only hashes are kept, under a key of this process, so
//! that nobody can make a text that is taken for another; a verdict is the same with and without it.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Texts that are remembered: 512 KiB.
const TEXTS: usize = 1 << 16;
/// Bytes of a text above which it is looked at each time.
const LONGEST: usize = 200;

struct Clean {
    key: RandomState,
    /// Hash 0 is no text's: its place is empty.
    texts: Box<[AtomicU64]>,
}

static CLEAN: LazyLock<Clean> =
    LazyLock::new(|| Clean { key: RandomState::new(), texts: (0..TEXTS).map(|_| AtomicU64::new(0)).collect() });

/// The rule that withholds a text, by `judge` where it is not remembered as clean.
pub(super) fn remembered(text: &str, judge: impl FnOnce(&str) -> Option<&'static str>) -> Option<&'static str> {
    if text.len() > LONGEST {
        return judge(text);
    }
    let clean = &*CLEAN;
    let hash = clean.key.hash_one(text).max(1);
    let place = usize::try_from(hash % TEXTS as u64).ok().and_then(|at| clean.texts.get(at));
    if place.is_some_and(|place| place.load(Ordering::Relaxed) == hash) {
        return None;
    }
    let rule = judge(text);
    if rule.is_none()
        && let Some(place) = place
    {
        place.store(hash, Ordering::Relaxed);
    }
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_passed_is_remembered() {
        let (clean, private) = ("a text of this test", "another text of this test");
        assert_eq!(remembered(private, |_| Some("email")), Some("email"));
        assert_eq!(remembered(private, |_| Some("ip")), Some("ip"), "looked at again");
        assert_eq!(remembered(clean, |_| None), None);
        assert_eq!(remembered(clean, |_| Some("email")), None, "not looked at again");
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(remembered(&long, |_| None), None);
        assert_eq!(remembered(&long, |_| Some("ip")), Some("ip"));
    }
}
