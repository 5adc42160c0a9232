//! Passwords: what is taken for one (NIST SP 800-63B-4), and how it is kept (argon2id, RFC 9106).

use std::sync::LazyLock;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use unicode_normalization::UnicodeNormalization as _;
use zxcvbn::{Score, zxcvbn};

use crate::{KeyError, random_bytes};

/// Least characters: a password may be an account's only factor (NIST SP 800-63B-4, 3.1.1.2).
pub const PASSWORD_LEAST: usize = 15;
/// Most characters.
pub const PASSWORD_MOST: usize = 256;
/// Memory of one hash in KiB and passes over it: OWASP's floor, 19 MiB and 2, so that a few at once fit a small machine.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Context words shorter than this are parts of too many good passwords.
const WORD: usize = 4;

/// Why a text cannot be a password, and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordProblem {
    /// Too few characters.
    #[error("at least {PASSWORD_LEAST} characters; a few words in a row are easy to keep in mind")]
    Short,
    /// Too many characters.
    #[error("at most {PASSWORD_MOST} characters")]
    Long,
    /// Made of what anybody would try first.
    #[error(
        "it would be guessed soon: it is made of common words, names, patterns or repeats; add words that do not belong together"
    )]
    Common,
    /// Mostly the person's own name or address, or the product's.
    #[error(
        "without your name, your address and the product's name less than {PASSWORD_LEAST} characters are left: add others"
    )]
    Context,
}

fn hasher() -> Result<Argon2<'static>, KeyError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|_| KeyError::Primitive("the parameters of argon2id are refused"))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// The same password typed on another keyboard may come as other code points.
fn normal(password: &str) -> zeroize::Zeroizing<String> {
    zeroize::Zeroizing::new(password.nfkc().collect())
}

/// Hashes a password with a fresh salt, as a PHC string. Takes about 20 ms and 19 MiB: never on an async thread.
///
/// # Errors
/// When there are no random bytes or no memory.
pub fn hash_password(password: &str) -> Result<String, KeyError> {
    let salt = random_bytes::<16>()?;
    let hash = hasher()?
        .hash_password_with_salt(normal(password).as_bytes(), salt.as_slice())
        .map_err(|_| KeyError::Primitive("hashing a password"))?;
    Ok(hash.to_string())
}

/// Whether a password has this hash. As dear as `hash_password`; of a damaged hash no password is the right one.
#[must_use]
pub fn verify_password(password: &str, hash: &str) -> bool {
    let Ok(parsed) = PasswordHash::new(hash) else { return false };
    hasher().is_ok_and(|hasher| hasher.verify_password(normal(password).as_bytes(), &parsed).is_ok())
}

/// Takes as long as `verify_password`, so that an answer does not tell whether there is such an account.
pub fn verify_nothing(password: &str) {
    static NOBODY: LazyLock<String> = LazyLock::new(|| hash_password("nobody has this password").unwrap_or_default());
    // Never right.
    let _ = verify_password(password, &NOBODY);
}

/// Whether a text may be a password of somebody of whom these words are known: name, e-mail address, product.
///
/// # Errors
/// Why not, for the person.
pub fn check_password(password: &str, context: &[&str]) -> Result<(), PasswordProblem> {
    let password = normal(password);
    let characters = password.chars().count();
    if characters < PASSWORD_LEAST {
        return Err(PasswordProblem::Short);
    }
    if characters > PASSWORD_MOST {
        return Err(PasswordProblem::Long);
    }
    let mut words: Vec<String> = Vec::new();
    for text in context {
        let lower = text.to_lowercase();
        words.extend(
            lower.split(|sign: char| !sign.is_alphanumeric()).filter(|word| word.len() >= WORD).map(str::to_owned),
        );
        words.push(lower);
    }
    words.retain(|word| word.len() >= WORD);
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let rest = words.iter().fold(password.to_lowercase(), |rest, word| rest.replace(word.as_str(), ""));
    if rest.chars().count() < PASSWORD_LEAST {
        return Err(PasswordProblem::Context);
    }
    let known: Vec<&str> = words.iter().map(String::as_str).collect();
    if zxcvbn(&password, &known).score() < Score::Three {
        return Err(PasswordProblem::Common);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: [&str; 3] = ["ada.lovelace@shop.example", "Ada Lovelace", "Convizit"];

    #[test]
    fn a_password_is_known_again_and_no_other_is() {
        let hash = hash_password("copper lantern walks uphill").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(verify_password("copper lantern walks uphill", &hash));
        assert!(!verify_password("copper lantern walks downhill", &hash));
        assert!(!verify_password("copper lantern walks uphill", "$argon2id$damaged"));
        assert_ne!(hash, hash_password("copper lantern walks uphill").unwrap(), "a salt of its own");
        // Composed and decomposed signs are one password.
        let hash = hash_password("caf\u{e9} am Fenster im Regen").unwrap();
        assert!(verify_password("cafe\u{301} am Fenster im Regen", &hash));
    }

    #[test]
    fn a_hash_of_another_implementation_is_known() {
        // Made with the reference implementation (argon2 -id -m 16 -t 2 -p 1 -l 24), as the tests of the crate have it.
        let hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(verify_password("password", hash));
        assert!(!verify_password("passw0rd", hash));
    }

    #[test]
    fn what_everybody_would_try_is_refused_and_long_words_are_not() {
        use PasswordProblem::{Common, Context, Long, Short};
        for (password, problem) in [
            ("correct horse", Some(Short)),
            ("Tr0ub4dor&3", Some(Short)),
            ("", Some(Short)),
            ("passwordpassword", Some(Common)),
            ("password1234567", Some(Common)),
            ("aaaaaaaaaaaaaaaaaaaa", Some(Common)),
            ("abcdefghijklmnopqrst", Some(Common)),
            ("qwertyuiopasdfghjkl", Some(Common)),
            ("12345678901234567890", Some(Common)),
            ("iloveyouiloveyou", Some(Common)),
            ("convizitconvizit", Some(Context)),
            ("ada.lovelace@shop.example", Some(Context)),
            ("Ada Lovelace shop", Some(Context)),
            ("lovelace-lovelace-2", Some(Context)),
            ("copper lantern walks uphill", None),
            ("zwölf Boxkämpfer jagen Viktor", None),
            ("x9#kQ2!vLm7$wRt", None),
            ("convizit copper lantern walks", None),
        ] {
            assert_eq!(check_password(password, &CONTEXT).err(), problem, "{password}");
        }
        assert_eq!(check_password(&"ab cd ".repeat(50), &CONTEXT), Err(Long));
        let long: String = (0..64).map(|n| char::from(b'!' + u8::try_from(n * 37 % 90).unwrap())).collect();
        assert_eq!(check_password(&long, &[]), Ok(()));
    }
}
