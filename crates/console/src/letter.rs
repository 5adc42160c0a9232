//! Letters with links: mailed where a mail server is set up, else shown to whoever made them.

use convizit_delivery::Mail;

use crate::{Console, Face};

/// What a link is for.
pub(crate) enum Letter<'a> {
    /// An invitation into a project, with the role's name.
    Member(&'a str, &'a str),
    /// An invitation to be a Master Admin.
    Master,
    /// Password and second factor anew.
    Reset,
    /// The password anew, which the person asked for.
    Password,
}

/// What became of a link.
pub(crate) enum Handed {
    /// It is on its way to this address.
    Mailed(String),
    /// It is to be shown, and why it could not be mailed.
    Shown { link: String, why: Option<String> },
}

impl Letter<'_> {
    fn mail(&self, to: &str, link: &str) -> Mail {
        let (subject, text) = match self {
            Self::Member(project, role) => (
                format!("Invitation to {project} in Convizit"),
                format!(
                    "You are invited into the project {project} as {role}. This link works once, for 7 days:\n\n{link}\n\n\
                     If you do not know what this is, do nothing: the link ends by itself.\n"
                ),
            ),
            Self::Master => (
                "Invitation to administer Convizit".to_owned(),
                format!(
                    "You are invited to be a Master Admin of this Convizit: you would see all projects and may do everything. \
                     This link works once, for 7 days:\n\n{link}\n\nIf you do not know what this is, do nothing: the link \
                     ends by itself.\n"
                ),
            ),
            Self::Reset => (
                "A new password and second factor for Convizit".to_owned(),
                format!(
                    "A Master Admin made this link for you: with it you set password and second factor anew. It works once, \
                     for 24 hours:\n\n{link}\n\nIf you did not ask for it, tell them, and do not open it.\n"
                ),
            ),
            Self::Password => (
                "A new password for Convizit".to_owned(),
                format!(
                    "Somebody, we hope you, said that the password of this account is lost. With this link you set a new one; \
                     your second factor stays. It works once, for an hour:\n\n{link}\n\nIf it was not you, do nothing: your \
                     password stays as it is.\n"
                ),
            ),
        };
        Mail { to: to.trim().to_owned(), subject, text, id: None }
    }

    /// Mails the link of a secret, or gives it back to be shown. `own` is where whoever makes it sees the console; a mail names the
    /// address that the operator has set, since a request may name any, and so does what is made on the operator's address.
    pub(crate) async fn hand_over(&self, console: &Console, to: &str, own: &str, secret: &str) -> Handed {
        let delivery = &console.config().delivery;
        let link = |address: &str| format!("{}/welcome/{secret}", address.trim_end_matches('/'));
        let own = if console.face() == Face::Operator { &delivery.console } else { own };
        let Some(server) = &delivery.mail else { return Handed::Shown { link: link(own), why: None } };
        match server.send(&self.mail(to, &link(&delivery.console))).await {
            Ok(()) => Handed::Mailed(to.trim().to_owned()),
            Err(error) => Handed::Shown { link: link(own), why: Some(error.to_string()) },
        }
    }
}

impl Handed {
    /// The link to be shown.
    pub(crate) fn link(&self) -> Option<&str> {
        match self {
            Self::Shown { link, .. } => Some(link),
            Self::Mailed(_) => None,
        }
    }

    /// The address that it was mailed to.
    pub(crate) fn to(&self) -> Option<&str> {
        match self {
            Self::Mailed(to) => Some(to),
            Self::Shown { .. } => None,
        }
    }

    /// Why it could not be mailed.
    pub(crate) fn why(&self) -> Option<&str> {
        match self {
            Self::Shown { why, .. } => why.as_deref(),
            Self::Mailed(_) => None,
        }
    }
}
