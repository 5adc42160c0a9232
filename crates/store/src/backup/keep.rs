//! Which backups are kept: the last of each of the newest days, weeks and months.

use std::collections::BTreeSet;

use convizit_model::Timestamp;

/// For how many days, weeks and months the last backup of each is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Days.
    pub daily: u16,
    /// Weeks, which begin on Monday (ISO 8601).
    pub weekly: u16,
    /// Months.
    pub monthly: u16,
}

impl Default for Keep {
    fn default() -> Self {
        Self { daily: 7, weekly: 4, monthly: 2 }
    }
}

impl Keep {
    /// For how many days a backup may be kept at most: what it needs must live as long.
    #[must_use]
    pub fn days(self) -> i64 {
        let days = i64::from(self.daily).max(i64::from(self.weekly) * 7).max(i64::from(self.monthly) * 31);
        // The last of a period may have been made at its beginning, where none came after it.
        days + 31
    }

    /// Which of these times, oldest first, are kept: the newest always, so that there is one.
    #[must_use]
    pub fn kept(self, times: &[Timestamp]) -> Vec<bool> {
        let periods: Vec<[i64; 3]> = times.iter().map(|time| periods(*time)).collect();
        let mut kept = vec![false; times.len()];
        if let Some(newest) = kept.last_mut() {
            *newest = true;
        }
        for (which, count) in [self.daily, self.weekly, self.monthly].into_iter().enumerate() {
            let mut seen = BTreeSet::new();
            for (of, kept) in periods.iter().zip(&mut kept).rev() {
                let period = of.get(which).copied().unwrap_or_default();
                if seen.len() >= usize::from(count) {
                    break;
                }
                // Backwards in time, the first that is met is the last of its period.
                *kept |= seen.insert(period);
            }
        }
        kept
    }
}

/// Numbers of the day, the week and the month of a time, each rising with it.
fn periods(time: Timestamp) -> [i64; 3] {
    let day = time.day();
    let month = jiff::Timestamp::from_millisecond(time.as_millis())
        .map(|time| jiff::tz::Offset::UTC.to_datetime(time).date())
        .map_or(0, |date| i64::from(date.year()) * 12 + i64::from(date.month()));
    // 1970 began on a Thursday.
    [day, (day + 3).div_euclid(7), month]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn kept(keep: Keep, times: &[&str]) -> Vec<String> {
        let times: Vec<Timestamp> = times.iter().map(|time| at(time)).collect();
        let kept = keep.kept(&times);
        times.iter().zip(kept).filter(|(_, kept)| *kept).map(|(time, _)| time.to_string()).collect()
    }

    #[test]
    fn the_last_of_each_day_week_and_month_is_kept() {
        let times = [
            "2026-01-31T03:00:00Z",
            "2026-02-01T03:00:00Z", // a Sunday
            "2026-02-02T03:00:00Z",
            "2026-02-02T15:00:00Z",
            "2026-02-03T03:00:00Z",
        ];
        let only = |daily, weekly, monthly| kept(Keep { daily, weekly, monthly }, &times);
        assert_eq!(only(2, 0, 0), ["2026-02-02T15:00:00Z", "2026-02-03T03:00:00Z"].map(|time| at(time).to_string()));
        assert_eq!(only(0, 2, 0), ["2026-02-01T03:00:00Z", "2026-02-03T03:00:00Z"].map(|time| at(time).to_string()));
        assert_eq!(only(0, 0, 2), ["2026-01-31T03:00:00Z", "2026-02-03T03:00:00Z"].map(|time| at(time).to_string()));
        assert_eq!(only(0, 0, 0), ["2026-02-03T03:00:00Z"].map(|time| at(time).to_string()), "there is always one");
        assert_eq!(kept(Keep::default(), &[]), [""; 0]);
    }

    #[test]
    fn of_a_year_of_days_as_many_as_the_schedule_says() {
        let begin = at("2026-01-01T03:00:00Z");
        let mut all: Vec<Timestamp> = Vec::new();
        for day in 0..400 {
            all.push(begin.plus_millis(day * 86_400_000));
            let kept = Keep::default().kept(&all);
            all = all.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(time, _)| time).collect();
            let newest = *all.last().unwrap();
            assert!(all.len() <= 7 + 4 + 2, "day {day}: {}", all.len());
            let oldest = newest.since(*all.first().unwrap()) / 86_400_000;
            assert!(oldest <= Keep::default().days(), "day {day}: {oldest}");
            let week = all.iter().filter(|time| newest.since(**time) < 7 * 86_400_000).count();
            assert!(day < 7 || week == 7, "day {day}: {week}");
        }
        assert!(all.len() >= 9, "{}", all.len());
    }
}
