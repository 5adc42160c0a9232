//! `convizit destination test, dead, retry, drop, replay, …`: trying a destination, and sending again what it had or refused.

use anyhow::{Result, anyhow, bail};
use clap::Subcommand;
use convizit_delivery::{DeliveryConfig, replay_rules};
use convizit_model::Timestamp;
use convizit_store::{ReplayPlan, Store};

use crate::cli::ask::Hold;
use crate::cli::destination::Which;
use crate::cli::{counted, names, say, table};

/// Dead letters that are listed.
const LISTED: i64 = 200;

#[derive(Debug, Subcommand)]
pub(crate) enum Again {
    /// Sends one event that says it is a test, and says what came of it.
    #[command(after_help = "Example: convizit destination test shop hook")]
    Test(Which),
    /// Lists events that the destination refused, and why.
    #[command(after_help = "Example: convizit destination dead shop hook --json")]
    Dead {
        #[command(flatten)]
        which: Which,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Sends refused events again, with the same ids, beside what is sent anyway.
    #[command(
        after_help = "Examples:\n  convizit destination retry shop hook --event 1041 --event 1077\n  convizit destination retry shop hook --all"
    )]
    Retry {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        what: What,
    },
    /// Gives refused events up; the events themselves stay stored.
    #[command(after_help = "Example: convizit destination drop shop hook --all --yes")]
    Drop {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        what: What,
        #[command(flatten)]
        hold: Hold,
    },
    /// Sends what was received in a range of time again, with the same ids, beside what is sent anyway.
    #[command(
        after_help = "Examples:\n  convizit destination replay shop db --from 2026-11-28T00:00:00Z --to 2026-11-29T00:00:00Z --dry-run\n  convizit destination replay shop db --since-rename 'Add to basket' --yes"
    )]
    Replay {
        #[command(flatten)]
        which: Which,
        /// Events that were received from then on.
        #[arg(long, value_name = "TIME", required_unless_present = "since_rename", conflicts_with = "since_rename")]
        from: Option<Timestamp>,
        /// Events that were received from when this name was last renamed: its text, or its id.
        #[arg(long, value_name = "NAME")]
        since_rename: Option<String>,
        /// And before then; now when it is not given.
        #[arg(long, value_name = "TIME")]
        to: Option<Timestamp>,
        #[command(flatten)]
        hold: Hold,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Lists replays and how far they are.
    #[command(after_help = "Example: convizit destination replays shop db")]
    Replays {
        #[command(flatten)]
        which: Which,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Ends a replay where it is.
    #[command(after_help = "Example: convizit destination stop-replay shop db 3")]
    StopReplay {
        #[command(flatten)]
        which: Which,
        /// Its number.
        replay: i64,
    },
}

/// Which dead letters.
#[derive(Debug, clap::Args)]
pub(crate) struct What {
    /// Number of an event; may be given several times.
    #[arg(long = "event", value_name = "NUMBER", required_unless_present = "all", conflicts_with = "all")]
    events: Vec<i64>,
    /// All of them.
    #[arg(long)]
    all: bool,
}

impl What {
    fn numbers(&self) -> Option<&[i64]> {
        (!self.all).then_some(self.events.as_slice())
    }
}

impl Again {
    pub(crate) async fn run(self, store: &Store, config: &DeliveryConfig) -> Result<()> {
        match self {
            Self::Test(which) => test(store, config, &which).await,
            Self::Dead { which, json } => dead(store, &which, json).await,
            Self::Retry { which, what } => {
                which.known(store).await?;
                let many = store.retry_dead_letters(&which.project, &which.name, what.numbers()).await?;
                if many == 0 {
                    return say("None of these is in the dead letters, or all are being sent again already.");
                }
                let letters = counted(many, "dead letter");
                say(format!("{letters} will be sent again; convizit destination dead {which} shows what is left"))
            }
            Self::Drop { which, what, hold } => {
                let state = which.known(store).await?;
                let many = what.numbers().map_or(state.dead, |some| i64::try_from(some.len()).unwrap_or(i64::MAX));
                if !hold.goes_on(&format!("give up {} of {}", counted(many, "dead letter"), which.name))? {
                    return Ok(());
                }
                let dropped = store.drop_dead_letters(&which.project, &which.name, what.numbers()).await?;
                say(format!("{} given up", counted(dropped, "dead letter")))
            }
            Self::Replay { which, from, since_rename, to, hold, json } => {
                let from = match (from, since_rename) {
                    (Some(from), _) => from,
                    (None, Some(name)) => names::renamed_at(store, &which.project, &name).await?,
                    (None, None) => bail!("give --from or --since-rename"),
                };
                let to = to.unwrap_or_else(|| store.clock().now());
                replay(store, &which, (from, to), config, hold, json).await
            }
            Self::Replays { which, json } => replays(store, &which, json).await,
            Self::StopReplay { which, replay } => {
                which.known(store).await?;
                store.stop_replay(&which.project, &which.name, replay).await?;
                say(format!("replay {replay} is stopped; what was sent stays sent"))
            }
        }
    }
}

async fn test(store: &Store, config: &DeliveryConfig, which: &Which) -> Result<()> {
    let destination = which.known(store).await?.destination;
    let secret = store.destination_secret(&which.project, &which.name).await?;
    store.audit("destination.test", which.project.as_str(), &which.name, "").await?;
    let tested = convizit_delivery::test(&destination, secret.as_deref(), config, store.clock().now()).await;
    let said = tested.map_err(|problem| anyhow!(problem))?;
    store.took_test(store.project(&which.project).await?.number, &which.name).await?;
    say(said)
}

async fn dead(store: &Store, which: &Which, json: bool) -> Result<()> {
    let all = which.known(store).await?.dead;
    let dead = store.dead_letters(&which.project, &which.name, LISTED).await?;
    if json {
        let rows: Vec<_> = dead
            .iter()
            .map(|letter| {
                serde_json::json!({"event": letter.number, "reason": letter.reason, "time": letter.time,
                    "attempts": letter.attempts, "retry": letter.retry})
            })
            .collect();
        return say(serde_json::to_string(&rows)?);
    }
    if dead.is_empty() {
        return say("No event was refused.");
    }
    let shown = dead.len();
    let rows: Vec<Vec<String>> = dead
        .into_iter()
        .map(|letter| {
            let again = if letter.retry { "being sent again" } else { "" };
            let attempts = letter.attempts.to_string();
            vec![letter.number.to_string(), letter.time.to_string(), attempts, letter.reason, again.to_owned()]
        })
        .collect();
    table(&["event", "refused", "times", "reason", ""], &rows)?;
    if i64::try_from(shown).is_ok_and(|shown| shown < all) {
        say(format!("the newest {shown} of {all}"))?;
    }
    say(format!(
        "Send them again: convizit destination retry {which} --all. Give them up: convizit destination drop {which} --all"
    ))
}

async fn replay(
    store: &Store,
    which: &Which,
    (from, to): (Timestamp, Timestamp),
    config: &DeliveryConfig,
    hold: Hold,
    json: bool,
) -> Result<()> {
    let kind = which.known(store).await?.destination.kind;
    let rules = replay_rules(&kind, config, store.clock().now());
    if let Some(why) = rules.refused {
        bail!("{why}");
    }
    let plan = store.plan_replay(&which.project, &which.name, (from, to), rules.oldest).await?;
    if json && hold.is_dry() {
        let warning = rules.warning;
        return say(
            serde_json::json!({"dry_run": true, "from": from, "to": to, "plan": plan, "warning": warning}).to_string()
        );
    }
    let ReplayPlan { events, exact, late, .. } = plan;
    if events == 0 && late > 0 {
        bail!("all {} received from {from} to {to} are too old: {}", counted(late, "event"), rules.bound);
    }
    if events == 0 {
        bail!("no event that {} had its turn of was received from {from} to {to}", which.name);
    }
    let many = format!("{}{}", if exact { "" } else { "at most " }, counted(events, "event"));
    let mut what = format!("send {many} received from {from} to {to} to {} again", which.name);
    if late > 0 {
        let least = if exact { "" } else { "at least " };
        what.push_str(&format!(", without {least}{late} that are too old ({})", rules.bound));
    }
    if let Some(warning) = rules.warning {
        what.push_str(&format!("; {}", warning.trim_end_matches('.')));
    }
    if !hold.goes_on(&what)? {
        return Ok(());
    }
    let replay = store.start_replay(&which.project, &which.name, (from, to)).await?;
    if json {
        return say(serde_json::json!({"replay": replay, "plan": plan}).to_string());
    }
    say(format!("replay {} is taken down: {many}; how far it is: convizit destination replays {which}", replay.id))
}

async fn replays(store: &Store, which: &Which, json: bool) -> Result<()> {
    which.known(store).await?;
    let number = store.project(&which.project).await?.number;
    let replays = store.replays(number, &which.name).await?;
    if json {
        return say(serde_json::to_string(&replays)?);
    }
    if replays.is_empty() {
        return say(format!(
            "Nothing was replayed yet: convizit destination replay {which} --from 2026-11-28T00:00:00Z"
        ));
    }
    let rows: Vec<Vec<String>> = replays
        .into_iter()
        .map(|replay| {
            let left = (replay.last - replay.done).max(0);
            let numbers = [replay.sent, replay.dead, left].map(|number| number.to_string());
            let [sent, dead, left] = numbers;
            let state = replay.state.as_str().to_owned();
            vec![replay.id.to_string(), replay.from.to_string(), replay.to.to_string(), sent, dead, left, state]
        })
        .collect();
    table(&["replay", "from", "to", "sent", "refused", "numbers left", "state"], &rows)
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.project, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_named_as_commands_take_it() {
        let which = Which { project: "shop".parse().unwrap(), name: "hook".to_owned() };
        assert_eq!(which.to_string(), "shop hook");
    }
}
