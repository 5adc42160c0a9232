//! Names, user names, addresses and short numbers that a word before them announces, in some forty languages.

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use crate::scrub::table::words;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// "Welcome back": a name follows, with a capital where the script has one.
    Greet,
    /// "Mrs": the same.
    Honorific,
    /// "Signed in as", "Name:": whatever follows is a name.
    Signed,
    /// "Ship to": whatever follows is an address.
    Ship,
    /// "Address:": the same behind a colon.
    Place,
    /// "Passport": a short number that follows identifies somebody.
    Number,
}

struct Announcements {
    automaton: AhoCorasick,
    /// What each word announces, and in which languages.
    kinds: Vec<(Kind, Vec<&'static str>)>,
    /// Words that are no names, by language.
    no_name: BTreeMap<&'static str, HashSet<&'static str>>,
    /// Of scripts that put no space between words, those that a text may begin with.
    no_name_heads: Vec<&'static str>,
}

#[expect(clippy::expect_used, reason = "the words are constants, and a test builds the automaton")]
static ANNOUNCEMENTS: LazyLock<Announcements> = LazyLock::new(|| {
    let words = words();
    let of = |kind: &str| {
        let languages = words.get(kind).into_iter().flatten();
        languages.flat_map(|(language, words)| words.iter().map(|word| (language.as_str(), word.as_str())))
    };
    let kinds = [
        ("greet", Kind::Greet),
        ("honorific", Kind::Honorific),
        ("signed", Kind::Signed),
        ("ship", Kind::Ship),
        ("place", Kind::Place),
        ("number", Kind::Number),
    ];
    let mut list: BTreeMap<(&str, Kind), Vec<&str>> = BTreeMap::new();
    for (name, kind) in kinds {
        for (language, word) in of(name) {
            list.entry((word, kind)).or_default().push(language);
        }
    }
    let mut no_name: BTreeMap<&str, HashSet<&str>> = BTreeMap::new();
    for (language, word) in of("no_name") {
        no_name.entry(language).or_default().insert(word);
    }
    Announcements {
        automaton: AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            // Ten megabytes for twice the speed.
            .kind(Some(AhoCorasickKind::DFA))
            .build(list.keys().map(|(word, _)| *word))
            .expect("the words are short"),
        kinds: list.into_iter().map(|((_, kind), languages)| (kind, languages)).collect(),
        no_name_heads: of("no_name").map(|(_, word)| word).filter(|word| word.chars().all(joins)).collect(),
        no_name,
    }
});

/// Titles that stand with names and in no list of words before them.
const TITLES: [&str; 18] = [
    "phd",
    "md",
    "dds",
    "mba",
    "bsc",
    "msc",
    "ing",
    "dipl",
    "univ",
    "jr",
    "sig",
    "dra",
    "sra",
    "المهندس",
    "الآنسة",
    "الدكتورة",
    "الأستاذة",
    "mag",
];

/// Whether a word in lower case is "mrs" or the like, in any language.
pub(super) fn is_honorific(word: &str) -> bool {
    static HONORIFICS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
        let known =
            words().get("honorific").into_iter().flatten().flat_map(|(_, words)| words.iter().map(String::as_str));
        known.chain(TITLES).collect()
    });
    HONORIFICS.contains(word)
}

/// Characters of scripts that write words without spaces between them.
pub(super) const fn joins(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}')
}

const fn is_suffix_of_courtesy(c: char) -> bool {
    matches!(c, '様' | '님')
}

/// Courtesies that are not said of one person.
const NO_PERSON: &[&str] =
    &["お客", "皆", "各位", "お子", "神", "王", "奥", "고객", "회원", "손", "선생", "사용자", "이용자", "여러분"];

/// What a word of the list announces in this text; `low` is `text` in lower case.
pub(super) fn announced(text: &str, low: &str, has_digit: bool, hit: &mut dyn FnMut(&'static str) -> bool) {
    if !text.is_ascii() && courtesy(text) && hit("person") {
        return;
    }
    let known = &*ANNOUNCEMENTS;
    for found in known.automaton.find_overlapping_iter(low) {
        let Some((kind, languages)) = known.kinds.get(found.pattern().as_usize()) else { continue };
        let kind = *kind;
        if kind == Kind::Number && !has_digit {
            continue;
        }
        let (Some(head), Some(word), Some(rest)) =
            (low.get(..found.start()), low.get(found.start()..found.end()), low.get(found.end()..))
        else {
            continue;
        };
        if !stands_alone(head, word, rest) {
            continue;
        }
        let as_written = |end: &str| written(text, end, text.len() == low.len());
        let rule = match kind {
            Kind::Number => is_number(as_written(low.get(found.start()..).unwrap_or_default()), word, rest)
                .then_some("labelled_number"),
            Kind::Ship | Kind::Place => is_place(kind, rest).then_some("address"),
            Kind::Greet | Kind::Honorific | Kind::Signed => {
                is_person(known, &as_written, (kind, languages), word, rest)
                    .then_some(if kind == Kind::Signed && is_account(word) { "username" } else { "person" })
            }
        };
        if let Some(rule) = rule
            && hit(rule)
        {
            return;
        }
    }
}

fn is_account(word: &str) -> bool {
    word.starts_with("user") || word == "login" || word == "nickname"
}

/// Whether the word is a word of its own and no part of another one.
fn stands_alone(head: &str, word: &str, rest: &str) -> bool {
    let starts = head.chars().next_back().is_none_or(|c| !c.is_alphanumeric() || joins(c));
    let ends = word.chars().next_back().is_some_and(joins)
        || rest.chars().next().is_none_or(|c| !c.is_alphanumeric() && c != '-');
    starts && ends
}

fn courtesy(text: &str) -> bool {
    let marked = text.char_indices().any(|(at, c)| {
        let head = text.get(..at).unwrap_or_default();
        is_suffix_of_courtesy(c)
            && head.chars().next_back().is_some_and(|c| c.is_alphabetic())
            && !NO_PERSON.iter().any(|word| head.ends_with(word))
    });
    let end = text.trim_end_matches(|c: char| !c.is_alphabetic());
    marked
        || ["さん", "さま"].iter().any(|suffix| {
            end.strip_suffix(suffix).is_some_and(|head| {
                (2..=12).contains(&head.chars().count()) && !NO_PERSON.iter().any(|word| head.ends_with(word))
            })
        })
}

/// A name follows the word.
fn is_person<'a>(
    known: &Announcements,
    as_written: &dyn Fn(&str) -> &'a str,
    (kind, languages): (Kind, &[&str]),
    word: &str,
    rest: &str,
) -> bool {
    let is_word = |word: &str| {
        let mut lists = languages.iter().chain(&["en"]).filter_map(|language| known.no_name.get(language));
        lists.any(|list| list.contains(word))
    };
    let single = !word.contains(' ') && !word.chars().any(joins);
    let marks = rest.trim_start_matches(' ');
    // "Name: Anna" and no "Name and address"; "Message Anna Smith" says it with two capitals.
    if kind == Kind::Signed && !marks.starts_with(':') && (single || word.chars().any(joins)) {
        return word == "message" && capitals(as_written(rest)) >= 2 && !is_word(first_word(marks));
    }
    let name = rest.trim_start_matches([
        ' ', ',', ':', ';', '-', '–', '—', '،', '、', '"', '\'', '“', '„', '«', '(', '(', '?', '*', '_',
    ]);
    let name = if kind == Kind::Honorific { name.trim_start_matches(['.', ' ']) } else { name };
    let first = first_word(name);
    let Some(letter) = first.chars().next() else { return false };
    if joins(letter) {
        return !known.no_name_heads.iter().any(|word| name.starts_with(word)) && first.chars().count() <= 40;
    }
    if is_word(first) || !letter.is_alphabetic() || (kind != Kind::Signed && first.chars().count() < 2) {
        return false;
    }
    // Names are written with a capital where the script has one; user names, and what stands behind a label, are not always.
    capitals(as_written(name)) >= 1 || (kind == Kind::Signed && (marks.starts_with(':') || first == name.trim_end()))
}

fn first_word(name: &str) -> &str {
    let end = name.find(|c: char| {
        !(c.is_alphanumeric() || matches!(c, '\'' | '’' | '-' | '_' | '.' | '\u{300}'..='\u{36f}') || is_mark(c))
    });
    name.get(..end.unwrap_or(name.len())).unwrap_or_default().trim_end_matches(['.', '-', '\''])
}

/// Vowel signs of Indic scripts, Thai, Hebrew and Arabic belong to their letter.
const fn is_mark(c: char) -> bool {
    matches!(c, '\u{591}'..='\u{5c7}' | '\u{610}'..='\u{65f}' | '\u{900}'..='\u{903}' | '\u{93a}'..='\u{94f}' | '\u{981}'..='\u{983}' | '\u{9bc}'..='\u{9cd}' | '\u{e31}'..='\u{e4e}')
}

/// The end of the text as it was written, of which `end` is the lower-cased form.
fn written<'a>(text: &'a str, end: &str, is_even: bool) -> &'a str {
    if is_even {
        return text.get(text.len().saturating_sub(end.len())..).unwrap_or_default();
    }
    // Some letters change their length with their case: counted in characters then.
    let skip = text.chars().count().saturating_sub(end.chars().count());
    text.char_indices().nth(skip).and_then(|(at, _)| text.get(at..)).unwrap_or_default()
}

/// How many words at the start of a text as it was written begin with a capital, or are of a script without.
fn capitals(written: &str) -> usize {
    let end = written.char_indices().nth(80).map_or(written.len(), |(at, _)| at);
    let words = written.get(..end).unwrap_or_default().split([' ', ',']).filter(|word| !word.is_empty());
    words.take_while(|word| word.chars().find(|c| c.is_alphabetic()).is_some_and(|c| !c.is_lowercase())).count()
}

/// An address follows.
fn is_place(kind: Kind, rest: &str) -> bool {
    let marks = rest.trim_start_matches(' ');
    // "Address: 1 High Street" and no "Address book".
    if kind == Kind::Place && !marks.starts_with(':') {
        return false;
    }
    let place = marks.trim_start_matches([':', ' ', ',', '-', '–']);
    let word = first_word(place);
    let says_nothing = words().get("no_place").into_iter().flat_map(BTreeMap::values).flatten();
    !word.is_empty() && !says_nothing.into_iter().any(|no| no == word)
}

/// At least three digits begin within 12 characters after the label.
fn is_number(written: &str, word: &str, rest: &str) -> bool {
    let after: String = rest.chars().take(24).collect();
    let start = after.chars().position(|c| c.is_ascii_digit());
    let digits = after.chars().filter(char::is_ascii_digit).count();
    if digits < 3 || start.is_none_or(|start| start > 12) {
        return false;
    }
    // Short labels are words of other languages too: they count with a mark behind them, or in capitals.
    let short = word.len() <= 3 && word.is_ascii();
    let marked = after.trim_start_matches(' ').starts_with([':', '#', '.', '='])
        || after.trim_start_matches(' ').starts_with("no");
    !short || marked || written.starts_with(&word.to_ascii_uppercase())
}
