//! When to try again: exponential backoff with jitter, at least what the destination asked for.

use std::time::Duration;

/// The first wait, the longest of our own, and the longest that a destination may ask for.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
const ASKED: Duration = Duration::from_secs(3600);

/// The wait before try `failures + 1`: doubled with each failure, between half of it and all of it at random.
pub(crate) fn wait(failures: u32, asked: Option<Duration>) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST);
    // Without random bytes the wait is whole: only the spread is lost.
    let random = convizit_keys::random_bytes::<1>().map_or(255, |bytes| bytes[0]);
    let own = doubled / 2 + doubled.mul_f64(f64::from(random) / 510.0);
    asked.map_or(own, |asked| asked.min(ASKED).max(own))
}

/// `Retry-After` in seconds; a date is rare and then our own wait holds.
pub(crate) fn retry_after(header: Option<&str>) -> Option<Duration> {
    header?.trim().parse::<u64>().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_within_bounds_and_honour_what_was_asked() {
        for failures in 1..40 {
            let waited = wait(failures, None);
            assert!(waited >= FIRST / 2 && waited <= LONGEST, "{failures}: {waited:?}");
        }
        assert!(wait(3, None) <= Duration::from_secs(4) && wait(3, None) >= Duration::from_secs(2));
        assert!(wait(1, Some(Duration::from_secs(60))) >= Duration::from_secs(60));
        assert!(wait(1, Some(Duration::from_secs(999_999))) <= ASKED);
        assert_eq!(retry_after(Some("17")), Some(Duration::from_secs(17)));
        assert_eq!(retry_after(Some("Wed, 21 Oct 2026 07:28:00 GMT")), None);
    }
}
