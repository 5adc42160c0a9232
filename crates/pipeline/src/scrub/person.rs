//! Whether a text looks like somebody's name by the words that it has, whatever stands around it: such a text waits until a crowd
//! has shown it. In doubt a text of two words or more does; a single word only where it is known as a name.

use std::sync::LazyLock;

use fst::Map;
use unicode_normalization::char::is_combining_mark;

use super::announced::{is_honorific, joins};
use super::normal::normalise;

/// Words in lower case and NFKC → what they are; `data/words.py` makes it.
#[expect(clippy::expect_used, reason = "the words are a constant, and a test opens them")]
static WORDS: LazyLock<Map<&'static [u8]>> =
    LazyLock::new(|| Map::new(&include_bytes!("../../../../data/words.fst")[..]).expect("data/words.fst is whole"));

/// Words of a name at most: more of them are a sentence, for which the rules look.
const WORDS_OF_NAME: usize = 5;
/// Letters of a name in a script without spaces at most, and of one of its parts.
const LETTERS_WITHOUT_SPACES: usize = 8;
const LETTERS_OF_PART: usize = 10;
/// Letters of an ordinary word in such a script at most.
const LETTERS_OF_WORD: usize = 8;
/// Words that stand between the words of names.
const PARTICLES: [&str; 26] = [
    "af", "al", "av", "bin", "da", "das", "de", "del", "den", "der", "di", "do", "dos", "du", "e", "el", "i", "la",
    "le", "st", "ten", "ter", "van", "von", "y", "zu",
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    /// Among the most frequent words of a language, and nobody's name.
    Ordinary,
    Name,
    Not,
}

fn known(word: &str) -> Known {
    match WORDS.get(word) {
        Some(1) => Known::Ordinary,
        Some(_) => Known::Name,
        None => Known::Not,
    }
}

/// Whether a word is among the most frequent of a language, and nobody's name.
pub(super) fn is_ordinary(word: &str) -> bool {
    known(&word.to_lowercase()) == Known::Ordinary
}

/// A word of a text, in lower case, and whether it was written with a capital; `None` where its script has none.
struct Word {
    folded: String,
    capital: Option<bool>,
    known: Known,
}

/// Whether a text may be a person's name and nothing else, or be made of one and a few words.
#[must_use]
pub fn looks_like_name(text: &str) -> bool {
    let text = normalise(text);
    let words: Vec<Word> = text
        .split(|c: char| !(c.is_alphabetic() || is_combining_mark(c) || matches!(c, '\'' | '’')))
        .filter(|word| word.chars().any(char::is_alphabetic))
        .take(WORDS_OF_NAME + 3)
        .map(|word| {
            let folded = word.to_lowercase();
            let first = word.chars().find(|c| c.is_alphabetic());
            let capital = first.filter(|c| c.is_lowercase() || c.is_uppercase()).map(char::is_uppercase);
            let known = known(&folded);
            Word { folded, capital, known }
        })
        .filter(|word| !is_honorific(&word.folded))
        .collect();
    if words.is_empty() || words.len() > WORDS_OF_NAME {
        return false;
    }
    if words.iter().any(|word| word.known == Known::Ordinary) {
        return names_somebody(&words);
    }
    let letters: String = words.iter().map(|word| word.folded.as_str()).collect();
    if letters.chars().any(is_east_asian) {
        return is_east_asian_name(&letters, words.len());
    }
    let one = words.len() == 1;
    if one && letters.chars().all(|c| ('\u{ac00}'..='\u{d7a3}').contains(&c)) {
        return is_korean_name(&letters);
    }
    if letters.chars().any(joins) && !letters.chars().any(|c| ('\u{ac00}'..='\u{d7af}').contains(&c)) {
        let short = || words.iter().all(|word| word.folded.chars().count() <= LETTERS_OF_PART);
        return words.iter().any(|word| word.known == Known::Name) || (words.len() == 2 && short());
    }
    if one {
        return words.iter().all(|word| word.known == Known::Name);
    }
    let mut parts = words.iter().filter(|word| word.capital.is_some() && !PARTICLES.contains(&word.folded.as_str()));
    // What is written small behind the first word is a phrase, unless it is all names.
    let small = parts.clone().count() > 1 && parts.clone().any(|word| word.capital == Some(false));
    !small || parts.all(|word| word.known == Known::Name)
}

/// "Chat with Anna": a name with a capital among words without; "Nguyễn Thị Hoa": names around one word that is none.
fn names_somebody(words: &[Word]) -> bool {
    let of = |known: Known| words.iter().filter(|word| word.known == known).count();
    if of(Known::Name) >= 2 && of(Known::Ordinary) == 1 && words.iter().all(|word| word.capital == Some(true)) {
        return true;
    }
    let small = words.iter().skip(1).any(|word| word.known == Known::Ordinary && word.capital == Some(false));
    small && words.iter().skip(1).any(|word| word.known == Known::Name && word.capital == Some(true))
}

const fn is_east_asian(c: char) -> bool {
    matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}')
}

/// Chinese and Japanese: begins with a family name where it is one word, and is not made of ordinary words.
fn is_east_asian_name(letters: &str, words: usize) -> bool {
    let letters: Vec<char> = letters.chars().collect();
    if letters.len() > LETTERS_WITHOUT_SPACES {
        return false;
    }
    let is_small = |c: &char| ('\u{3040}'..='\u{309f}').contains(c);
    let mixed = letters.iter().any(is_small) && !letters.iter().all(is_small);
    // Endings and particles stand between or behind the words of a phrase.
    if mixed && letters.len() > 3 && letters.iter().skip(1).any(is_small) {
        return false;
    }
    let family = || (1..=3).filter_map(|most| letters.get(..most)).any(|head| known(&text_of(head)) == Known::Name);
    (words > 1 || family()) && !is_made_of_words(&letters)
}

fn text_of(letters: &[char]) -> String {
    letters.iter().collect()
}

/// Whether a text without spaces can be cut into ordinary words of two letters or more.
fn is_made_of_words(letters: &[char]) -> bool {
    let mut ends = vec![false; letters.len() + 1];
    if let Some(first) = ends.first_mut() {
        *first = true;
    }
    for start in 0..letters.len() {
        if !ends.get(start).copied().unwrap_or_default() {
            continue;
        }
        for end in start + 2..=(start + LETTERS_OF_WORD).min(letters.len()) {
            let word = letters.get(start..end).map(text_of).unwrap_or_default();
            if known(&word) == Known::Ordinary
                && let Some(end) = ends.get_mut(end)
            {
                *end = true;
            }
        }
    }
    ends.last().copied().unwrap_or_default()
}

/// Korean: a family name and a given name in one word.
fn is_korean_name(word: &str) -> bool {
    known(word) == Known::Name
        || word.char_indices().skip(1).take(2).any(|(at, _)| {
            let (family, given) = word.split_at(at);
            known(family) == Known::Name && known(given) == Known::Name
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_look_like_names_and_words_do_not() {
        for name in [
            "Anna Schmidt",
            "anna schmidt",
            "ANNA SCHMIDT",
            "Anna",
            "Mr. Will Smith",
            "José da Silva",
            "Nguyễn Thị Hoa",
            "Шевченко Тарас",
            "Tarja Hämäläinen",
            "محمد علي",
            "王伟",
            "李小龙",
            "田中 太郎",
            "김민수",
            "समीर शर्मा",
            "สมชาย ใจดี",
            "Ελένη Παπαδοπούλου",
            "Zbigniew Brzęczyszczykiewicz",
            "J. Kowalska",
            "Chat with Anna",
            "Anna\u{200b} Schmidt",
        ] {
            assert!(looks_like_name(name), "{name}");
        }
        for words in [
            "Add to cart",
            "Checkout",
            "My account",
            "Trail shoe",
            "Sign In",
            "Warenkorb",
            "In den Warenkorb",
            "Mein Konto",
            "Ajouter au panier",
            "Panier",
            "Añadir al carrito",
            "购物车",
            "加入购物车",
            "設定を保存",
            "장바구니",
            "확인",
            "मेरा खाता",
            "Mark all as read",
            "April",
            "Search",
            "Save",
            "Learn more",
            "Size chart",
            "Contact Us",
            "Войти",
            "تسجيل الدخول",
            "",
            "42",
            "★★★",
            "Unsubscribe",
            "Reindex",
        ] {
            assert!(!looks_like_name(words), "{words}");
        }
    }

    #[test]
    fn long_texts_take_little() {
        let start = std::time::Instant::now();
        for text in ["王".repeat(200_000), "a ".repeat(200_000), "\u{301}".repeat(400_000)] {
            assert!(!looks_like_name(&text));
        }
        assert!(start.elapsed().as_secs() < 5);
    }
}
