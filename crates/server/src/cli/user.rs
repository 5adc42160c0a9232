//! `convizit user`: who has an account, and a link for whoever lost password or phone.

use anyhow::{Result, anyhow};
use clap::Subcommand;
use convizit_store::Store;

use crate::cli::{say, table};

#[derive(Debug, Subcommand)]
pub(crate) enum User {
    /// Lists accounts.
    #[command(after_help = "Example: convizit user list")]
    List {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Prints a link with which somebody sets password and second factor anew, once and within 24 hours.
    #[command(after_help = "Example: convizit user reset ada@shop.example")]
    Reset {
        /// The account's e-mail address.
        email: String,
    },
}

impl User {
    /// `address` is where browsers find the console.
    pub(crate) async fn run(self, store: &Store, address: &str) -> Result<()> {
        match self {
            Self::List { json } => {
                let accounts = store.accounts().await?;
                if json {
                    return say(serde_json::to_string(&accounts)?);
                }
                if accounts.is_empty() {
                    return say("There is no account yet: convizit serve prints the link that makes the first one.");
                }
                let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
                let rows: Vec<Vec<String>> = accounts
                    .into_iter()
                    .map(|one| {
                        let factor = word(one.second_factor);
                        vec![
                            one.number.to_string(),
                            one.email,
                            one.name,
                            word(one.master),
                            factor,
                            one.made.to_string(),
                        ]
                    })
                    .collect();
                table(&["account", "e-mail", "name", "master", "second factor", "since"], &rows)
            }
            Self::Reset { email } => {
                let account = store.account_by_email(&email).await?;
                let account = account.ok_or_else(|| anyhow!("there is no account {email}: convizit user list"))?;
                let secret = store.reset_link(&account).await?;
                say(format!("{address}/welcome/{secret}"))
            }
        }
    }
}
