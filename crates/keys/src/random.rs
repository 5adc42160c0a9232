//! Random bytes from the operating system's generator, through aws-lc-rs.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::KeyError;

/// `N` random bytes, wiped when dropped.
///
/// # Errors
/// When there are no random bytes.
pub fn random_bytes<const N: usize>() -> Result<Zeroizing<[u8; N]>, KeyError> {
    let mut bytes = Zeroizing::new([0; N]);
    fill(bytes.as_mut_slice())?;
    Ok(bytes)
}

/// `bytes` random bytes as URL-safe text without padding (4 characters for 3 bytes), for project keys and secrets.
///
/// # Errors
/// When there are no random bytes.
pub fn random_text(bytes: usize) -> Result<String, KeyError> {
    let mut random = Zeroizing::new(vec![0; bytes]);
    fill(&mut random)?;
    Ok(URL_SAFE_NO_PAD.encode(&*random))
}

pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), KeyError> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| KeyError::Primitive("the system gave no random bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_text_has_the_length_of_its_bytes_and_does_not_repeat() {
        let texts: std::collections::HashSet<String> = (0..100).map(|_| random_text(24).unwrap()).collect();
        assert_eq!(texts.len(), 100);
        assert!(
            texts.iter().all(|t| t.len() == 32 && t.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)))
        );
    }
}
