//! AWS Signature Version 4, after the published algorithm, with the HMAC that everything else uses.
//!
//! The crate `aws-sigv4` would bring a second SHA-256 and the runtime of AWS's SDK for these lines. What KMS needs is here:
//! no query, no path but `/`, header values without runs of spaces.

use aws_lc_rs::hmac;

use super::credentials::Credentials;
use crate::sha256;

/// What a signature is for.
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    /// `20150830T123600Z`.
    pub(super) time: &'a str,
}

/// The value of `Authorization` for a request to `/`. Headers: lower-case names in the order of the alphabet.
pub(super) fn authorization(
    credentials: &Credentials,
    scope: &Scope<'_>,
    method: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> String {
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let canonical = format!("{method}\n/\n\n{lines}\n{names}\n{}", hex(&sha256(body)));
    let Scope { region, service, time } = scope;
    let day = time.get(..8).unwrap_or(time);
    let within = format!("{day}/{region}/{service}/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{within}\n{}", hex(&sha256(canonical.as_bytes())));
    let first = zeroize::Zeroizing::new(format!("AWS4{}", credentials.secret.as_str()));
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, first.as_bytes());
    for part in [day, region, service, "aws4_request"] {
        key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
    }
    let signature = hex(hmac::sign(&key, text.as_bytes()).as_ref());
    format!("AWS4-HMAC-SHA256 Credential={}/{within}, SignedHeaders={names}, Signature={signature}", credentials.id)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: (&str, &str) = ("host", "example.amazonaws.com");
    const DATE: (&str, &str) = ("x-amz-date", "20150830T123600Z");

    struct Case<'a> {
        name: &'a str,
        method: &'a str,
        headers: &'a [(&'a str, &'a str)],
        body: &'a [u8],
        signature: &'a str,
    }

    /// Of AWS's test suite for signature version 4, by the name of the case.
    #[test]
    fn signatures_are_those_of_the_published_test_suite() {
        let form = "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e";
        let token = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
        let cases = [
            Case {
                name: "get-vanilla",
                method: "GET",
                headers: &[HOST, DATE],
                body: b"",
                signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            },
            Case {
                name: "post-vanilla",
                method: "POST",
                headers: &[HOST, DATE],
                body: b"",
                signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            },
            Case {
                name: "get-vanilla-with-session-token",
                method: "GET",
                headers: &[HOST, DATE, ("x-amz-security-token", token)],
                body: b"",
                signature: "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
            },
            Case {
                name: "post-x-www-form-urlencoded",
                method: "POST",
                headers: &[
                    ("content-length", "13"),
                    ("content-type", "application/x-www-form-urlencoded"),
                    HOST,
                    ("x-amz-content-sha256", form),
                    DATE,
                ],
                body: b"Param1=value1",
                signature: "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
            },
        ];
        let credentials = Credentials {
            id: "AKIDEXAMPLE".to_owned(),
            secret: zeroize::Zeroizing::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
            token: None,
            until: None,
        };
        let scope = Scope { region: "us-east-1", service: "service", time: DATE.1 };
        for Case { name, method, headers, body, signature } in cases {
            let made = authorization(&credentials, &scope, method, headers, body);
            assert!(made.ends_with(&format!("Signature={signature}")), "{name}: {made}");
        }
    }
}
