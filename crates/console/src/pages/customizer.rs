//! The customizer: opening the live site with a token, and the drafts that were made there, before and after, to publish or discard.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use convizit_model::{Change, Timestamp};
use convizit_pipeline::Catalogue;
use convizit_store::StoreError;
use url::Url;

use super::decisions::who;
use crate::Console;
use crate::access::{Member, Person};
use crate::acts::Undone;
use crate::acts::drafts::{self, Chosen, Standing, name_of, standing};
use crate::known::known;
use crate::page::{Chrome, Problem, Refusal, again, html, minute, see};

/// After so long without a sign of life the page says what may be in the way.
const PATIENCE_MILLIS: i64 = 10_000;

#[derive(Template)]
#[template(path = "customizer.html")]
struct CustomizerPage {
    chrome: Chrome,
    project: String,
    address: String,
    collector: String,
    /// The site's address with its token, just made.
    link: Option<String>,
    wait: Wait,
    drafts: Vec<Shown>,
    /// How many can be published without a second look.
    ready: usize,
    problem: Problem,
}

#[derive(Template)]
#[template(path = "customizer_pulse_partial.html")]
struct Pulse {
    wait: Wait,
}

/// Whether the customizer came up on the site.
struct Wait {
    since: i64,
    begun: bool,
    late: bool,
    collector: String,
    project: String,
}

/// A draft as a person decides on it.
struct Shown {
    /// Subject and version, as forms send them.
    id: String,
    what: &'static str,
    /// The event that it is about, where there is one: id and text.
    name: Option<(String, String)>,
    before: String,
    after: String,
    by: String,
    when: String,
    /// What stands against publishing it: somebody changed it since, or it cannot be any more.
    conflict: String,
    /// It can be published all the same.
    possible: bool,
    /// What the conflict was seen to be; publishing all the same asks for it.
    now: String,
}

/// What a draft is about, in words, and a name that a person knows it by.
fn subject(catalogue: &Catalogue, change: &Change) -> (&'static str, Option<(String, String)>) {
    let named = || name_of(catalogue, change).map(|name| (name.id.to_string(), name.text.clone()));
    match change {
        Change::Rename { .. } => ("Name", named()),
        Change::CaptureElement { .. } => ("This control", named()),
        Change::CaptureGroup { group, .. } => {
            let itself = catalogue.groups.iter().find(|one| one.id == *group);
            ("Whole group", named().or_else(|| itself.map(|group| (String::new(), group.name.clone()))))
        }
        _ => ("", None),
    }
}

async fn shown(console: &Console, member: &Member) -> Result<Vec<Shown>, Refusal> {
    let store = &member.asking.store;
    let known = known(console, &member.project).await?;
    let mut drafts = Vec::new();
    for draft in store.drafts(member.project.number).await? {
        let (what, name) = subject(&known.catalogue, &draft.change);
        let Standing { conflict, possible, now } = standing(&known.registry, &draft);
        drafts.push(Shown {
            id: format!("{} {}", draft.subject, draft.version),
            what,
            name,
            before: if now.is_empty() { draft.before } else { now.clone() },
            after: draft.change.draft().map(|(_, aim)| aim).unwrap_or_default(),
            by: who(store, &format!("account:{}", draft.account)).await,
            when: minute(Timestamp::from_millis(draft.version)),
            conflict,
            possible,
            now,
        });
    }
    Ok(drafts)
}

async fn wait(console: &Console, member: &Member, since: i64) -> Result<Wait, Refusal> {
    let since = Timestamp::from_millis(since);
    Ok(Wait {
        since: since.as_millis(),
        begun: member.asking.store.has_customizer_begun(&member.project, since).await?,
        late: member.asking.now().since(since) > PATIENCE_MILLIS,
        collector: console.config().collector.trim_end_matches('/').to_owned(),
        project: member.project.id.to_string(),
    })
}

async fn page(
    console: &Console,
    member: &Member,
    (address, problem): (Option<&str>, Problem),
    link: Option<String>,
) -> Result<CustomizerPage, Refusal> {
    let first = member.project.settings.origins.iter().find(|origin| !origin.contains('*'));
    let drafts = shown(console, member).await?;
    Ok(CustomizerPage {
        chrome: member.asking.chrome("On the site", "customizer"),
        project: member.project.id.to_string(),
        address: address.map_or_else(|| first.map(|origin| format!("{origin}/")).unwrap_or_default(), str::to_owned),
        collector: console.config().collector.trim_end_matches('/').to_owned(),
        link,
        wait: wait(console, member, member.asking.now().as_millis()).await?,
        ready: drafts.iter().filter(|draft| draft.possible && draft.conflict.is_empty()).count(),
        drafts,
        problem,
    })
}

pub(super) async fn show(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    Ok(html(&page(&console, &member, (None, Problem::default()), None).await?))
}

/// The page's address with the token in its fragment, which browsers send to nobody; a fragment of the page's own stays behind it.
fn with_token(address: &Url, token: &str) -> String {
    let mut link = address.clone();
    let own = address.fragment().map(|own| format!("#{own}")).unwrap_or_default();
    link.set_fragment(Some(&format!("convizit={token}{own}")));
    link.to_string()
}

/// The page again, with what stands against the address.
async fn refuse(console: &Console, member: &Member, typed: &str, text: String) -> Result<Response, Refusal> {
    Ok(again(&page(console, member, (Some(typed), Problem::new("address", text)), None).await?))
}

pub(super) async fn open(State(console): State<Console>, person: Person, member: Member) -> Result<Response, Refusal> {
    let typed = member.asking.fields.get("address").trim();
    let address = match Url::parse(typed) {
        Ok(address) if matches!(address.scheme(), "http" | "https") && address.username().is_empty() => address,
        _ => {
            let text = "the address of a page, such as https://shop.example/shoes".to_owned();
            return refuse(&console, &member, typed, text).await;
        }
    };
    let origin = address.origin().ascii_serialization();
    match member.asking.store.open_customizer(&member.project, &person.session, &origin).await {
        Ok(token) => {
            let link = with_token(&address, &token);
            Ok(html(&page(&console, &member, (Some(typed), Problem::default()), Some(link)).await?))
        }
        Err(StoreError::Invalid(text)) => refuse(&console, &member, typed, text).await,
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn pulse(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let since = member.asking.query.get("since").parse().unwrap_or_else(|_| member.asking.now().as_millis());
    Ok(html(&Pulse { wait: wait(&console, &member, since).await? }))
}

/// The drafts that a form names, in the versions that it showed. Publishing all the same is for one.
fn chosen(member: &Member) -> Vec<Chosen<'_>> {
    let fields = &member.asking.fields;
    let now = Some(fields.get("now")).filter(|now| !now.is_empty());
    let named = fields.all("draft").map(|text| text.split_once(' ').unwrap_or((text, "")));
    named.map(|(subject, version)| Chosen { subject, version: version.parse().unwrap_or(-1), now }).collect()
}

/// What to do where drafts are not as the page showed them.
fn look_again(undone: Undone) -> Refusal {
    match undone {
        Undone::Wrong(problem) => Refusal::Invalid(format!(
            "{} Nothing was published; go back, load the page again, and look once more.",
            problem.text
        )),
        Undone::Meanwhile => Refusal::Invalid(
            "somebody has changed, published or discarded a draft since this page was shown: go back, load it again, and look once more"
                .to_owned(),
        ),
        Undone::Refused(refusal) => refusal,
    }
}

pub(super) async fn publish(State(console): State<Console>, member: Member) -> Result<Response, Refusal> {
    let known = known(&console, &member.project).await?;
    drafts::publish(&member.acting(), &known, &chosen(&member)).await.map_err(look_again)?;
    Ok(see(&format!("/p/{}/customizer", member.project.id), "published"))
}

pub(super) async fn discard(member: Member) -> Result<Response, Refusal> {
    drafts::discard(&member.acting(), &chosen(&member)).await.map_err(look_again)?;
    Ok(see(&format!("/p/{}/customizer", member.project.id), "discarded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_in_the_fragment_and_a_pages_own_stays() {
        for (address, link) in [
            ("https://shop.example/a?b=c", "https://shop.example/a?b=c#convizit=1.2.ff"),
            ("https://shop.example/#/cart", "https://shop.example/#convizit=1.2.ff#/cart"),
        ] {
            assert_eq!(with_token(&Url::parse(address).unwrap(), "1.2.ff"), link);
        }
    }
}
