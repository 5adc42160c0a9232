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

/// `Retry-After`: seconds, or an HTTP date seen from `now` (seconds since 1970).
pub(crate) fn retry_after(header: Option<&str>, now: i64) -> Option<Duration> {
    let text = header?.trim();
    let seconds = text.parse::<u64>().ok().or_else(|| {
        let date = jiff::fmt::rfc2822::parse(text).ok()?;
        Some(u64::try_from(date.timestamp().as_second().saturating_sub(now)).unwrap_or(0))
    })?;
    Some(Duration::from_secs(seconds))
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
        assert_eq!(retry_after(Some("17"), 0), Some(Duration::from_secs(17)));
        // 2026-10-21T07:28:00Z is second 1 792 567 680.
        let date = Some("Wed, 21 Oct 2026 07:28:00 GMT");
        assert_eq!(retry_after(date, 1_792_567_680 - 90), Some(Duration::from_secs(90)));
        assert_eq!(retry_after(date, 1_792_567_680 + 90), Some(Duration::ZERO));
        assert_eq!(retry_after(Some("soon"), 0), None);
    }
}
