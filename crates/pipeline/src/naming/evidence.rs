//! How likely two descriptions are of one control: evidence for and against is added up, field by field.
//!
//! Record linkage after Fellegi and Sunter ("A Theory for Record Linkage", JASA 64, 1969): each field adds a weight where both
//! agree, takes one away where they do not, and a smaller one where only one side has it; rare words count for more than
//! common ones (Winkler's adjustment). The weights are logarithms of odds, fitted on pairs of real pages (`bench/naming`);
//! the sum becomes a probability.

use crate::naming::features::Features;

/// Weights of a field, as logarithms of odds: for full agreement, for both sides having it, for one side only.
struct Weight {
    agree: f64,
    both: f64,
    one: f64,
}

const fn weight(agree: f64, both: f64, one: f64) -> Weight {
    Weight { agree, both, one }
}

const LABEL: Weight = weight(2.5, -1.9, -1.6);
/// The same label on the same tag.
const LABEL_AND_TAG: f64 = 2.5;
const NAME: Weight = weight(2.1, 0.0, 0.0);
const ID: Weight = weight(2.2, 0.0, -0.4);
const CLASSES: Weight = weight(1.1, -0.7, -0.6);
const ADDRESS: Weight = weight(3.4, -1.3, -0.5);
const HOST: Weight = weight(0.0, -1.1, 0.0);
const WORDS: Weight = weight(1.9, 0.0, -1.0);
const TITLES: Weight = weight(2.8, -0.4, -0.2);
const DATA: Weight = weight(4.2, -0.4, -1.4);
const ICON: Weight = weight(1.0, -0.5, -0.3);
const KINDS: Weight = weight(0.0, -0.4, -0.7);
const SECTION: Weight = weight(0.6, -1.2, 0.0);
const GROUP_PATH: Weight = weight(0.5, -1.0, -0.5);
const GROUP_SHAPE: Weight = weight(1.1, -1.6, -0.5);
/// Where items stand changes: it only decides between equals.
const GROUP_POSITION: f64 = 0.1;
const LANDMARK: f64 = 3.3;
const FORM: f64 = 2.4;
const PATH: f64 = 3.1;
/// What stands against any two controls being one.
const PRIOR: f64 = -6.6;

/// How much a word says: the rarer among what is known, the more.
pub(crate) trait Rarity {
    /// The logarithm of how rare it is, above zero.
    fn of(&self, word: u32) -> f64;
    /// The same of a class word: less where such words do not outlast a build.
    fn of_class(&self, word: u32) -> f64;
}

/// The logarithm of the odds that both are one control.
pub(crate) fn log_odds(a: &Features, b: &Features, rarity: &impl Rarity) -> f64 {
    let mut sum = PRIOR;
    let mut field = |weight: &Weight, in_a: bool, in_b: bool, agreement: f64| match (in_a, in_b) {
        (true, true) => sum += weight.both + weight.agree * agreement,
        (false, false) => {}
        _ => sum += weight.one,
    };
    let same = |a: u32, b: u32| if a == b { 1.0 } else { 0.0 };
    let same_label = a.label == b.label;
    // Texts of two languages differ always: that says nothing.
    let translated = !same_label && a.language != 0 && b.language != 0 && a.language != b.language;
    let likeness = if same_label { 1.0 } else { dice(&a.letters, &b.letters) };
    if translated {
        // What does look alike is a word of both: a brand, a loan.
        field(&Weight { both: 0.0, one: 0.0, ..LABEL }, a.label != 0, b.label != 0, likeness);
    } else {
        field(&LABEL, a.label != 0, b.label != 0, likeness);
        field(&WORDS, !a.words.is_empty(), !b.words.is_empty(), contained(&a.words, &b.words, &|word| rarity.of(word)));
        field(
            &SECTION,
            a.section != 0,
            b.section != 0,
            named(a.section == b.section, &a.section_words, &b.section_words, 1.0),
        );
    }
    let has_title =
        |one: &Features| (one.label != 0 || !one.titles.is_empty()) && !(a.titles.is_empty() && b.titles.is_empty());
    let says = |one: &Features, title: u32| title == one.label || one.titles.contains(&title);
    let title = b.titles.iter().any(|title| says(a, *title)) || (b.label != 0 && says(a, b.label));
    field(&TITLES, has_title(a), has_title(b), if title { 1.0 } else { 0.0 });
    field(&NAME, a.name != 0, b.name != 0, named(a.name == b.name, &a.name_words, &b.name_words, 0.5));
    field(&ID, a.id != 0, b.id != 0, named(a.id == b.id, &a.id_words, &b.id_words, 1.0));
    field(
        &CLASSES,
        !a.classes.is_empty(),
        !b.classes.is_empty(),
        shared(&a.classes, &b.classes, &|word| rarity.of_class(word)),
    );
    field(
        &ADDRESS,
        !a.segments.is_empty(),
        !b.segments.is_empty(),
        shared(&a.segments, &b.segments, &|word| rarity.of(word)),
    );
    field(&HOST, a.host != 0, b.host != 0, same(a.host, b.host));
    field(&DATA, !a.data.is_empty(), !b.data.is_empty(), data(&a.data, &b.data));
    field(&ICON, a.icon != 0, b.icon != 0, same(a.icon, b.icon));
    field(&KINDS, !a.kinds.is_empty(), !b.kinds.is_empty(), 0.0);
    let (here, there) = (a.group.as_ref(), b.group.as_ref());
    let of_both = |compare: &dyn Fn(&_, &_) -> f64| here.zip(there).map_or(0.0, |(a, b)| compare(a, b));
    use crate::naming::features::Place;
    field(&GROUP_PATH, here.is_some(), there.is_some(), of_both(&|a: &Place, b: &Place| same(a.path, b.path)));
    field(&GROUP_SHAPE, here.is_some(), there.is_some(), of_both(&|a, b| overlap(&a.signature, &b.signature)));
    sum += of_both(&|a, b| same(a.position, b.position)) * GROUP_POSITION;
    if same_label && a.label != 0 && a.tag == b.tag {
        sum += LABEL_AND_TAG;
    }
    sum += LANDMARK * same(a.landmark, b.landmark);
    sum += if a.in_form == b.in_form { FORM } else { 0.0 };
    sum + PATH * suffix(&a.path, &b.path)
}

/// By what the sum is divided before it is read as odds: the fields are not independent of each other, so together they say more
/// than is true. Fitted on real releases: of best matches at a sum of 4 to 6, 94 % are right, not 99 %.
const TEMPERATURE: f64 = 2.0;

/// The probability of this sum, between 0 and 1 (temperature scaling: Guo et al., "On Calibration of Modern Neural Networks",
/// ICML 2017).
pub(crate) fn probability(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds / TEMPERATURE).exp())
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    #[expect(clippy::cast_precision_loss, reason = "at most some hundred")]
    let share = part as f64 / whole as f64;
    share
}

/// Elements that two sorted lists have in common, repeats counted.
fn common<T: Ord + Copy>(a: &[T], b: &[T], mut each: impl FnMut(T)) {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        match x.cmp(y) {
            std::cmp::Ordering::Less => drop(a.next()),
            std::cmp::Ordering::Greater => drop(b.next()),
            std::cmp::Ordering::Equal => {
                each(**x);
                a.next();
                b.next();
            }
        }
    }
}

pub(crate) fn dice(a: &[u16], b: &[u16]) -> f64 {
    let mut both = 0;
    common(a, b, |_| both += 1);
    ratio(2 * both, a.len() + b.len())
}

fn overlap(a: &[u32], b: &[u32]) -> f64 {
    let mut both = 0;
    common(a, b, |_| both += 1);
    ratio(both, a.len() + b.len() - both)
}

/// Equal, or so much of it as their words have in common.
fn named(equal: bool, a: &[u32], b: &[u32], part: f64) -> f64 {
    if equal { 1.0 } else { part * overlap(a, b) }
}

fn weigh(words: &[u32], rarity: &impl Fn(u32) -> f64) -> f64 {
    words.iter().map(|word| rarity(*word)).sum()
}

fn both(a: &[u32], b: &[u32], rarity: &impl Fn(u32) -> f64) -> f64 {
    let mut sum = 0.0;
    common(a, b, |word| sum += rarity(word));
    sum
}

/// Jaccard's share, rare words counting more.
fn shared(a: &[u32], b: &[u32], rarity: &impl Fn(u32) -> f64) -> f64 {
    let both = both(a, b, rarity);
    let all = weigh(a, rarity) + weigh(b, rarity) - both;
    if all > 0.0 { both / all } else { 0.0 }
}

/// How much of the side that says less is on the other one too.
fn contained(a: &[u32], b: &[u32], rarity: &impl Fn(u32) -> f64) -> f64 {
    let less = weigh(a, rarity).min(weigh(b, rarity));
    if less > 0.0 { both(a, b, rarity) / less } else { 0.0 }
}

fn data(a: &[(u32, u32)], b: &[(u32, u32)]) -> f64 {
    let keys = |list: &[(u32, u32)]| list.iter().map(|(key, _)| *key).collect::<Vec<_>>();
    let (mut equal, mut known) = (0, 0);
    common(a, b, |_| equal += 1);
    common(&keys(a), &keys(b), |_| known += 1);
    ratio(equal, a.len() + b.len() - known)
}

/// Paths are kept from the control outwards.
fn suffix(a: &[u32], b: &[u32]) -> f64 {
    let both = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    ratio(both, a.len().max(b.len()))
}
