//! Texts of a mapping: cut on whole characters, and words that machines accept as names.

/// The first `most` characters.
pub(crate) fn cut_chars(text: &str, most: usize) -> &str {
    text.char_indices().nth(most).map_or(text, |(end, _)| &text[..end])
}

/// As many whole characters as fit into `most` bytes.
pub(crate) fn cut_bytes(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

/// A name of a-z, 0-9 and `with`, that begins with a letter, of at most `most` bytes (8 at least).
///
/// A text that is such a name stays as it is, and "Product price" becomes `product_price`: these two ways of writing are one name.
/// Every other text gets four hexadecimal digits of its SHA-256 behind it, so that two names never become one.
pub(crate) fn slug(text: &str, with: char, most: usize) -> String {
    let is_slug = text.len() <= most
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == with);
    if is_slug {
        return text.to_owned();
    }
    let mut made = String::with_capacity(text.len().min(most));
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            made.push(c.to_ascii_lowercase());
        } else if !made.is_empty() && !made.ends_with(with) {
            made.push(with);
        }
    }
    let mut made = made.trim_end_matches(with).to_owned();
    if !made.starts_with(|c: char| c.is_ascii_lowercase()) {
        made.insert(0, 'x');
    }
    let mut letters = text.chars();
    // Written as people write names: a capital, words with single spaces.
    let plain: String = letters.next().map(|c| c.to_ascii_lowercase()).into_iter().chain(letters).collect();
    if made.len() <= most && plain.replace(' ', &with.to_string()) == made {
        return made;
    }
    let digest = convizit_keys::sha256(text.as_bytes());
    let kept = cut_bytes(&made, most.saturating_sub(5)).trim_end_matches(with).to_owned();
    format!("{kept}{with}{:02x}{:02x}", digest[0], digest[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_are_stable_names_and_no_two_names_become_one() {
        for (text, wanted) in [
            ("Add to cart", "add_to_cart"),
            ("add_to_cart", "add_to_cart"),
            ("Product price", "product_price"),
            ("purchase", "purchase"),
        ] {
            assert_eq!(slug(text, '_', 40), wanted);
        }
        let texts = [
            "Add To Cart",
            "Add  to cart",
            "Add to cart!",
            "ADD TO CART",
            "add to Cart",
            "1st item",
            "Größe",
            "ß",
            "",
            "日本語",
            "日本",
        ];
        let slugs: std::collections::HashSet<String> = texts.iter().map(|text| slug(text, '_', 40)).collect();
        assert_eq!(slugs.len(), texts.len(), "{slugs:?}");
        for made in slugs {
            assert!(made.len() <= 40 && made.starts_with(|c: char| c.is_ascii_lowercase()), "{made}");
            assert_eq!(slug(&made, '_', 40), made);
        }
        let long = slug(&"Very long name ".repeat(20), '_', 24);
        assert!(long.len() <= 24, "{long}");
    }

    #[test]
    fn cuts_keep_characters_whole() {
        assert_eq!(cut_chars("Größe", 3), "Grö");
        assert_eq!(cut_bytes("Größe", 3), "Gr");
        assert_eq!(cut_bytes("ß", 1), "");
        assert_eq!(cut_chars("ab", 5), "ab");
    }
}
