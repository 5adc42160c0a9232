//! The rule table (`rules/rules.json`, `rules/words.json`) compiled once. `tracker/rules.mjs` compiles the tracker's part of it;
//! `tests/e2e/scrub.test.mjs` holds one against the other.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use serde::Deserialize;

/// Bytes of the states that an expression may keep: with fewer, texts of many scripts make it forget what it needs again.
const CACHE: usize = 32 << 20;

/// What a text must hold before a rule is tried on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Needs {
    /// `@`, or a bracket that may hide it.
    At,
    /// An ASCII digit.
    Digit,
    /// Colons or hyphens between groups of hexadecimal digits.
    Marks,
    /// Nothing but letters.
    Letters,
}

#[derive(Deserialize)]
struct Table {
    #[cfg(test)]
    version: u32,
    run: String,
    benign: Vec<String>,
    rules: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    needs: Needs,
    /// Tried on the text as it is, not in lower case.
    #[serde(default)]
    as_is: bool,
    pattern: String,
    /// Words that a group of the pattern may be without being a hit.
    #[serde(default)]
    but: Vec<String>,
}

/// The words by kind and language.
pub(super) type Words = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// Patterns that are tried together.
pub(super) struct Set {
    set: RegexSet,
    rules: Vec<(&'static str, Regex, Vec<String>)>,
}

impl Set {
    /// The rules that fire, in the table's order.
    pub(super) fn hits<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'static str> + 'a {
        let hits: Vec<usize> =
            if self.set.is_match(text) { self.set.matches(text).into_iter().collect() } else { Vec::new() };
        hits.into_iter().filter_map(|at| {
            let (id, pattern, but) = self.rules.get(at)?;
            let spared = |groups: &regex::Captures<'_>| {
                let mut inner = groups.iter().skip(1).flatten().peekable();
                inner.peek().is_some() && inner.all(|group| but.iter().any(|word| word == group.as_str()))
            };
            (but.is_empty() || pattern.captures_iter(text).any(|groups| !spared(&groups))).then_some(*id)
        })
    }
}

/// The compiled table.
pub(super) struct Compiled {
    /// Numbers with what may stand between their digits, their currency and unit.
    pub(super) run: Regex,
    /// Forms of such runs that are no personal number: amounts, dates, times, versions, ranges.
    pub(super) benign: Regex,
    sets: BTreeMap<(u8, bool), Set>,
}

impl Compiled {
    pub(super) fn set(&self, needs: Needs, as_is: bool) -> Option<&Set> {
        self.sets.get(&(needs as u8, as_is))
    }
}

/// The table is written in what both engines of regular expressions read; here `\b`, `\d` and `\w` mean ASCII, as in the browser.
fn ascii(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() * 2);
    let mut chars = pattern.chars();
    let mut in_class = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('b') => out.push_str("(?-u:\\b)"),
                Some('d') => out.push_str(if in_class { "0-9" } else { "[0-9]" }),
                Some('w') => out.push_str(if in_class { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
                Some(other) => out.extend(['\\', other]),
                None => {}
            },
            '[' if in_class => out.push_str("\\["),
            '&' | '~' if in_class => out.extend(['\\', c]),
            _ => {
                in_class = (in_class || c == '[') && c != ']';
                out.push(c);
            }
        }
    }
    out
}

#[expect(clippy::expect_used, reason = "the table is a constant, and every pattern of it is compiled by a test")]
fn compile() -> (Compiled, Words) {
    let table: Table = serde_json::from_str(include_str!("../../../../rules/rules.json")).expect("rules.json");
    let words: Words = serde_json::from_str(include_str!("../../../../rules/words.json")).expect("words.json");
    let regex = |pattern: &str| {
        let mut builder = RegexBuilder::new(&ascii(pattern));
        builder.dfa_size_limit(CACHE).build().expect("a pattern of rules.json")
    };
    let mut rows: BTreeMap<(u8, bool), Vec<Row>> = BTreeMap::new();
    let streets = streets(&words);
    for mut row in table.rules {
        row.pattern = row.pattern.replace("{street}", &streets);
        rows.entry((row.needs as u8, row.as_is)).or_default().push(row);
    }
    let sets = rows.into_iter().map(|(key, rows)| {
        let mut set = RegexSetBuilder::new(rows.iter().map(|row| ascii(&row.pattern)));
        let set = set.dfa_size_limit(CACHE).build().expect("patterns of rules.json");
        let rules = rows.into_iter().map(|row| (&*row.id.leak(), regex(&row.pattern), row.but)).collect();
        (key, Set { set, rules })
    });
    let compiled = Compiled {
        run: regex(&table.run),
        benign: regex(&format!("^(?:{})$", table.benign.join("|"))),
        sets: sets.collect(),
    };
    (compiled, words)
}

/// What a street's name begins with, in all languages: an abbreviation, or a word and a space.
fn streets(words: &Words) -> String {
    let all = || words.get("street").into_iter().flat_map(BTreeMap::values).flatten();
    let is_short = |word: &&String| word.ends_with(['.', '/']);
    let one_of = |words: Vec<String>| words.join("|");
    let short = one_of(all().filter(is_short).map(|word| regex::escape(word)).collect());
    let long = one_of(all().filter(|word| !is_short(word)).map(|word| regex::escape(word)).collect());
    format!("(?:(?:{short}) ?|(?:{long}) )")
}

static COMPILED: LazyLock<(Compiled, Words)> = LazyLock::new(compile);

pub(super) fn table() -> &'static Compiled {
    &COMPILED.0
}

pub(super) fn words() -> &'static Words {
    &COMPILED.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_of_the_table_compiles() {
        let written: Table = serde_json::from_str(include_str!("../../../../rules/rules.json")).unwrap();
        assert_eq!(written.version, crate::scrub::RULES, "receipts name the version of the table");
        assert!(table().run.is_match("12") && words().len() >= 5);
    }

    #[test]
    fn classes_mean_ascii() {
        assert_eq!(ascii(r"\b\d[\w\-]"), r"(?-u:\b)[0-9][0-9A-Za-z_\-]");
    }
}
