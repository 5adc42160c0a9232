//! AWS Signature Version 4, after the published algorithm, with the HMAC that everything else uses.
//!
//! The crate `aws-sigv4` would bring a second SHA-256 and the runtime of AWS's SDK for these lines. Header values have no runs of spaces.

use aws_lc_rs::hmac;

use crate::sha256;

/// A request that is to be signed for AWS, or for a store that speaks as S3 does.
#[derive(Debug, Clone, Copy)]
pub struct AwsRequest<'a> {
    /// `eu-central-1`.
    pub region: &'a str,
    /// `kinesis`, `s3`.
    pub service: &'a str,
    /// `20150830T123600Z`.
    pub time: &'a str,
    /// `POST`.
    pub method: &'a str,
    /// As it is sent: encoded, beginning with a slash.
    pub path: &'a str,
    /// As it is sent: encoded, its parameters in the order of the alphabet; empty for none.
    pub query: &'a str,
    /// Lower-case names in the order of the alphabet.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// The value of `Authorization` for a request, by an access key's id and secret.
#[must_use]
pub fn sign_aws(id: &str, secret: &str, request: &AwsRequest<'_>) -> String {
    let AwsRequest { region, service, time, method, path, query, headers, body } = request;
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{}", hex(&sha256(body)));
    let day = time.get(..8).unwrap_or(time);
    let within = format!("{day}/{region}/{service}/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{within}\n{}", hex(&sha256(canonical.as_bytes())));
    let first = zeroize::Zeroizing::new(format!("AWS4{secret}"));
    let mut key = hmac::Key::new(hmac::HMAC_SHA256, first.as_bytes());
    for part in [day, region, service, "aws4_request"] {
        key = hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, part.as_bytes()).as_ref());
    }
    let signature = hex(hmac::sign(&key, text.as_bytes()).as_ref());
    format!("AWS4-HMAC-SHA256 Credential={id}/{within}, SignedHeaders={names}, Signature={signature}")
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
        query: &'a str,
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
                query: "",
                headers: &[HOST, DATE],
                body: b"",
                signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            },
            Case {
                name: "post-vanilla",
                method: "POST",
                query: "",
                headers: &[HOST, DATE],
                body: b"",
                signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
            },
            Case {
                name: "get-vanilla-query-order-key-case",
                method: "GET",
                query: "Param1=value1&Param2=value2",
                headers: &[HOST, DATE],
                body: b"",
                signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            },
            Case {
                name: "get-vanilla-with-session-token",
                method: "GET",
                query: "",
                headers: &[HOST, DATE, ("x-amz-security-token", token)],
                body: b"",
                signature: "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
            },
            Case {
                name: "post-x-www-form-urlencoded",
                method: "POST",
                query: "",
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
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        for Case { name, method, query, headers, body, signature } in cases {
            let (region, service, time) = ("us-east-1", "service", DATE.1);
            let request = AwsRequest { region, service, time, method, path: "/", query, headers, body };
            let made = sign_aws("AKIDEXAMPLE", secret, &request);
            assert!(made.ends_with(&format!("Signature={signature}")), "{name}: {made}");
        }
    }
}
