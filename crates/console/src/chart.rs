//! Bars of counts over time, as the rectangles of an SVG: no style of its own, which the pages' policy forbids.

use std::collections::HashMap;

/// A bar in units of the drawing.
pub(crate) struct Bar {
    pub(crate) x: String,
    pub(crate) y: String,
    pub(crate) width: String,
    pub(crate) height: String,
    /// What stands for it where a pointer rests.
    pub(crate) title: String,
    pub(crate) none: bool,
}

/// Bars from left to right; the drawing is 100 wide and `TALL` high.
pub(crate) struct Chart {
    pub(crate) bars: Vec<Bar>,
    /// The bars as one path, for lists of many small drawings.
    pub(crate) path: String,
    /// For whoever does not see it.
    pub(crate) words: String,
    pub(crate) most: i64,
}

/// Height of the drawing.
pub(crate) const TALL: f64 = 30.0;

/// Counts of so many steps of `hours` hours each that end with the hour `now`.
pub(crate) fn chart(by_hour: &HashMap<i64, i64>, now: i64, steps: i64, hours: i64) -> Chart {
    let first = now - steps * hours + 1;
    let counts: Vec<i64> = (0..steps)
        .map(|step| (0..hours).map(|hour| by_hour.get(&(first + step * hours + hour)).copied().unwrap_or(0)).sum())
        .collect();
    let most = counts.iter().copied().max().unwrap_or(0);
    let all: i64 = counts.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "a drawing")]
    let bars = counts.iter().enumerate().map(|(index, count)| {
        let width = 100.0 / steps as f64;
        let height = if most == 0 || *count == 0 { 0.6 } else { (*count as f64 / most as f64 * TALL).max(1.0) };
        let time = convizit_model::Timestamp::from_millis((first + index as i64 * hours) * 3_600_000);
        Bar {
            x: format!("{:.2}", index as f64 * width + width * 0.08),
            y: format!("{:.2}", TALL - height),
            width: format!("{:.2}", width * 0.84),
            height: format!("{height:.2}"),
            title: format!("{} UTC: {}", crate::page::minute(time), crate::page::count(*count)),
            none: *count == 0,
        }
    });
    let span =
        if hours * steps > 48 { format!("{} days", hours * steps / 24) } else { format!("{} hours", hours * steps) };
    let bars: Vec<Bar> = bars.collect();
    let drawn = bars.iter().filter(|bar| !bar.none);
    Chart {
        path: drawn.map(|bar| format!("M{} {TALL}v-{}h{}v{}z", bar.x, bar.height, bar.width, bar.height)).collect(),
        bars,
        words: format!(
            "{} events in the last {span}, at most {} in a step",
            crate::page::count(all),
            crate::page::count(most)
        ),
        most,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_hour_is_the_last_bar() {
        let counts = HashMap::from([(100, 10), (99, 5), (52, 7), (51, 1000)]);
        let drawn = chart(&counts, 100, 48, 1);
        assert_eq!((drawn.bars.len(), drawn.most), (48, 10));
        assert_eq!(drawn.bars.last().unwrap().height, "30.00");
        assert_eq!(drawn.bars[46].height, "15.00");
        assert!(drawn.bars[0].none, "the hour before the first is not in it");
        assert!(drawn.words.starts_with("15 events in the last 48 hours"), "{}", drawn.words);
        let days = chart(&counts, 100, 7, 24);
        assert_eq!(days.bars.len(), 7);
        assert!(days.words.contains("7 days"), "{}", days.words);
    }
}
