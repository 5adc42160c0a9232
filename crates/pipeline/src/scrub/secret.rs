//! Secrets by their form: tokens that no person wrote.

/// Characters of a token.
const fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'_' | b'=' | b'-')
}

/// Whether some run of at least 16 letters, digits and marks looks random rather than written.
pub(super) fn has_secret(text: &str) -> bool {
    text.as_bytes().split(|byte| !is_part(*byte)).any(|token| token.len() >= 16 && is_random(token))
}

fn is_random(token: &[u8]) -> bool {
    let (mut upper, mut lower, mut digit) = (0, 0, 0);
    // Letters that stand in words: runs of at least four small ones, a capital before them included.
    let (mut run, mut worded) = (0_usize, 0_usize);
    let mut capital = false;
    for &byte in token {
        upper += usize::from(byte.is_ascii_uppercase());
        lower += usize::from(byte.is_ascii_lowercase());
        digit += usize::from(byte.is_ascii_digit());
        if byte.is_ascii_lowercase() {
            run += 1;
            continue;
        }
        worded += words(run, capital);
        (run, capital) = (0, byte.is_ascii_uppercase());
    }
    worded += words(run, capital);
    let letters = upper + lower;
    if letters == 0 || entropy(token) < 3.0 {
        return false;
    }
    let mixed = upper > 0 && lower > 0 && digit > 0;
    // Of one case: hexadecimal and base 32 have digits all over.
    let dense = digit * 5 >= token.len();
    (mixed && worded * 5 < letters * 3) || (dense && letters >= 3 && worded * 2 < letters)
}

const fn words(run: usize, capital: bool) -> usize {
    if run < 4 { 0 } else { run + capital as usize }
}

/// Shannon entropy in bits per character.
fn entropy(token: &[u8]) -> f64 {
    let mut counts = [0_u32; 128];
    for byte in token {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let total = f64::from(u32::try_from(token.len()).unwrap_or(u32::MAX));
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / total;
            -share * share.log2()
        })
        .sum()
}
