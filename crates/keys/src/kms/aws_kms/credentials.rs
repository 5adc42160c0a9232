//! Credentials for AWS: from the environment, from the container's agent, or from the instance's metadata service (IMDSv2).

use std::env;

use convizit_model::Timestamp;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::kms::https;

const METADATA: &str = "http://169.254.169.254";
/// The agent of ECS.
const CONTAINER: &str = "http://169.254.170.2";
/// Hosts that a container's full address may name without https: the agents of ECS and EKS.
const AGENTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];
/// Credentials are taken anew so long before they expire.
const EARLY_MILLIS: i64 = 300_000;
const ROLE_PATH: &str = "/latest/meta-data/iam/security-credentials/";

/// What requests are signed with.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) id: String,
    pub(super) secret: Zeroizing<String>,
    pub(super) token: Option<Zeroizing<String>>,
    /// `None` for those of the environment, which are read each time.
    pub(super) until: Option<Timestamp>,
}

/// What container agents and the metadata service answer.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Role {
    access_key_id: String,
    secret_access_key: Zeroizing<String>,
    token: Zeroizing<String>,
    expiration: Timestamp,
}

impl Credentials {
    pub(super) fn are_fresh(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until.since(now) > EARLY_MILLIS)
    }

    /// The first that there are.
    pub(super) async fn find(client: &Client) -> Result<Self, String> {
        if let (Some(id), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
            let token = variable("AWS_SESSION_TOKEN").map(Zeroizing::new);
            return Ok(Self { id, secret: Zeroizing::new(secret), token, until: None });
        }
        if let Some(path) = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
            return of_container(client, &format!("{CONTAINER}{path}")).await;
        }
        if let Some(address) = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
            return of_container(client, &address).await;
        }
        of_instance(client).await.map_err(|problem| {
            format!(
                "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the instance or \
                 the container a role ({problem})"
            )
        })
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

async fn of_container(client: &Client, address: &str) -> Result<Credentials, String> {
    let agent = Url::parse(address).ok().filter(|url| url.host_str().is_some_and(|host| AGENTS.contains(&host)));
    let url = match agent {
        Some(url) => url,
        None => https::address(address)
            .map_err(|problem| format!("the address of the container's credentials: {problem}"))?,
    };
    let mut request = client.get(url);
    // The file wins, as in AWS's own programs: EKS writes a new token into it.
    let token = match variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
        Some(path) => {
            // Kubernetes mounts it readable for the group, so it is not held to 0600.
            let text = std::fs::read_to_string(&path).map_err(|error| format!("the token file {path}: {error}"))?;
            Some(text.trim_end().to_owned())
        }
        None => variable("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
    };
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    role(https::once(request).await, "the container's agent")
}

async fn of_instance(client: &Client) -> Result<Credentials, String> {
    if variable("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Err("the metadata service is switched off by AWS_EC2_METADATA_DISABLED".to_owned());
    }
    let base = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| METADATA.to_owned());
    let base = base.trim_end_matches('/');
    let name = "the instance's metadata service";
    let token = client.put(format!("{base}/latest/api/token")).header("x-aws-ec2-metadata-token-ttl-seconds", "300");
    let token = text(https::once(token).await, name)?;
    let get = |path: String| client.get(format!("{base}{path}")).header("x-aws-ec2-metadata-token", token.as_str());
    let roles = text(https::once(get(ROLE_PATH.to_owned())).await, name)?;
    let first = roles.lines().next().ok_or_else(|| format!("{name} knows no role: give the instance one"))?;
    role(https::once(get(format!("{ROLE_PATH}{first}"))).await, name)
}

fn text(answer: Result<https::Answer, String>, name: &str) -> Result<Zeroizing<String>, String> {
    let (status, body) = answer.map_err(|problem| format!("{name}: {problem}"))?;
    match std::str::from_utf8(&body) {
        Ok(text) if status == StatusCode::OK => Ok(Zeroizing::new(text.to_owned())),
        _ => Err(format!("{name} answered {}", status.as_u16())),
    }
}

fn role(answer: Result<https::Answer, String>, name: &str) -> Result<Credentials, String> {
    let text = text(answer, name)?;
    // The parser's own message may quote what it read.
    let role: Role = serde_json::from_str(&text).map_err(|_| format!("{name} gave no credentials of AWS's form"))?;
    let until = Some(role.expiration);
    Ok(Credentials { id: role.access_key_id, secret: role.secret_access_key, token: Some(role.token), until })
}
