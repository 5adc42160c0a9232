//! The second factor: time-based codes (RFC 6238) on HMAC-SHA-1, and recovery codes.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use convizit_model::Timestamp;
use zeroize::Zeroizing;

use crate::{KeyError, random_bytes};

/// Seconds of a step.
const STEP: i64 = 30;
/// Digits of a code.
const DIGITS: u32 = 6;
/// Steps by which a phone's clock may be off.
const DRIFT: i64 = 1;
/// RFC 4648, as apps for second factors write secrets.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Recovery codes of an account.
pub const RECOVERY_CODES: usize = 10;

/// The secret that server and phone share: 160 bits, as RFC 4226 recommends.
#[derive(Clone)]
pub struct TotpSecret(Zeroizing<[u8; 20]>);

impl TotpSecret {
    /// A new one.
    ///
    /// # Errors
    /// When there are no random bytes.
    pub fn random() -> Result<Self, KeyError> {
        Ok(Self(random_bytes()?))
    }

    /// Of its 20 bytes; `None` for another number of them.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        Some(Self(Zeroizing::new(bytes.try_into().ok()?)))
    }

    /// Its bytes, to be sealed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// Of its text in base 32, as `text` gives it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(20));
        let (mut held, mut bits) = (0_u32, 0);
        for sign in text.bytes().filter(|sign| !sign.is_ascii_whitespace()) {
            let value = BASE32.iter().position(|known| *known == sign.to_ascii_uppercase())?;
            held = (held << 5) | u32::try_from(value).ok()?;
            bits += 5;
            if bits >= 8 {
                bits -= 8;
                bytes.push(u8::try_from((held >> bits) & 0xff).ok()?);
            }
        }
        Self::of(&bytes)
    }

    /// The text that a person types where no camera is at hand.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(base32(self.bytes()))
    }

    /// The address that a camera reads (Key Uri Format of the apps).
    #[must_use]
    pub fn address(&self, account: &str) -> Zeroizing<String> {
        let mut label = String::new();
        for byte in account.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
                label.push(char::from(byte));
            } else {
                label.push_str(&format!("%{byte:02X}"));
            }
        }
        Zeroizing::new(format!("otpauth://totp/Convizit:{label}?secret={}&issuer=Convizit", *self.text()))
    }

    /// The code of a moment: what the phone shows.
    #[must_use]
    pub fn code(&self, now: Timestamp) -> String {
        code(self.bytes(), step_of(now), DIGITS)
    }

    /// The step of this code, when it is one of now, a step before or after, and of a later step than the last used one.
    #[must_use]
    pub fn step(&self, typed: &str, now: Timestamp, used: i64) -> Option<i64> {
        let typed: String = typed.chars().filter(|sign| !sign.is_whitespace()).collect();
        let current = step_of(now);
        // All are looked at, so that time tells nothing of which one was near.
        let mut found = None;
        for step in current - DRIFT..=current + DRIFT {
            let same = verify_slices_are_equal(code(self.bytes(), step, DIGITS).as_bytes(), typed.as_bytes()).is_ok();
            if same && step > used {
                found = Some(step);
            }
        }
        found
    }
}

fn step_of(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(STEP * 1000)
}

/// RFC 4226, 5.3: dynamic truncation.
fn code(secret: &[u8], step: i64, digits: u32) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag.last().copied().unwrap_or(0) & 0x0f);
    let picked = tag.get(offset..offset + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes);
    format!("{:0width$}", (picked & 0x7fff_ffff) % 10_u32.pow(digits), width = digits as usize)
}

fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut held, mut bits) = (0_u32, 0);
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(sign_of(held >> bits));
        }
    }
    if bits > 0 {
        text.push(sign_of(held << (5 - bits)));
    }
    text
}

fn sign_of(value: u32) -> char {
    BASE32.get(value as usize & 31).map_or('A', |sign| char::from(*sign))
}

/// New recovery codes such as `k3vqa-7m2xd`, 50 random bits each.
///
/// # Errors
/// When there are no random bytes.
pub fn recovery_codes() -> Result<Vec<String>, KeyError> {
    (0..RECOVERY_CODES)
        .map(|_| {
            let text = base32(random_bytes::<7>()?.as_slice()).to_lowercase();
            let (head, tail) = text.split_at(5);
            Ok(format!("{head}-{}", tail.get(..5).unwrap_or_default()))
        })
        .collect()
}

/// A recovery code as it is hashed: however a person has typed it.
#[must_use]
pub fn normal_recovery_code(typed: &str) -> String {
    typed.chars().filter(char::is_ascii_alphanumeric).map(|sign| sign.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B: 8 digits, the secret `12345678901234567890`.
    #[test]
    fn the_codes_are_those_of_the_rfc() {
        for (seconds, expected) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            let step = step_of(Timestamp::from_millis(seconds * 1000));
            assert_eq!(code(b"12345678901234567890", step, 8), expected, "{seconds}");
        }
        // RFC 4226, appendix D: by counter, 6 digits.
        for (counter, expected) in (0..).zip(["755224", "287082", "359152", "969429", "338314", "254676", "287922"]) {
            assert_eq!(code(b"12345678901234567890", counter, 6), expected, "{counter}");
        }
    }

    #[test]
    fn a_code_holds_for_its_step_and_the_ones_beside_it_and_once() {
        let secret = TotpSecret::random().unwrap();
        let now = Timestamp::from_millis(1_764_000_000_000);
        let code = secret.code(now);
        let step = secret.step(&code, now, 0).unwrap();
        for (seconds, holds) in [(-60, false), (-30, true), (30, true), (60, false)] {
            let then = now.plus_millis(seconds * 1000);
            assert_eq!(secret.step(&code, then, 0).is_some(), holds, "{seconds} s");
        }
        assert_eq!(secret.step(&code, now, step), None, "no code is taken twice");
        let spaced = format!(" {} {} ", &code[..3], &code[3..]);
        assert_eq!(secret.step(&spaced, now, 0), Some(step), "as apps show it");
        for wrong in ["", "00000", "0000000", "abcdef"] {
            assert_eq!(secret.step(wrong, now, 0), None, "{wrong}");
        }
    }

    #[test]
    fn a_secret_survives_its_text() {
        assert_eq!(base32(b"12345678901234567890"), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let secret = TotpSecret::random().unwrap();
        assert_eq!(TotpSecret::parse(&secret.text()).unwrap().bytes(), secret.bytes());
        assert_eq!(TotpSecret::parse(&secret.text().to_lowercase()).unwrap().bytes(), secret.bytes());
        assert!(TotpSecret::parse("GEZDGNBV").is_none() && TotpSecret::parse("not base 32!").is_none());
        let address = secret.address("ada+test@shop.example");
        assert!(address.starts_with("otpauth://totp/Convizit:ada%2Btest@shop.example?secret="), "{}", *address);
    }

    #[test]
    fn recovery_codes_are_ten_and_differ() {
        let codes = recovery_codes().unwrap();
        assert_eq!(codes.len(), RECOVERY_CODES);
        assert!(codes.iter().all(|code| code.len() == 11 && code.as_bytes()[5] == b'-'), "{codes:?}");
        assert_eq!(codes.iter().collect::<std::collections::HashSet<_>>().len(), RECOVERY_CODES);
        assert_eq!(normal_recovery_code(" K3VQA 7m2xd"), "k3vqa7m2xd");
    }
}
