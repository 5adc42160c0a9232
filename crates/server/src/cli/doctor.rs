//! `convizit doctor`: what is wrong with an installation, and what to do.

use anyhow::{Result, anyhow, bail};

use crate::cli::say;
use crate::config::Config;
use crate::observe::failing;
use crate::run::{open_store, tables};

struct Finding {
    what: &'static str,
    problem: Option<String>,
}

pub(crate) async fn run(config: &Config, json: bool) -> Result<()> {
    let mut findings = Vec::new();
    let mut add = |what, result: Result<(), String>| findings.push(Finding { what, problem: result.err() });
    add("configuration", Ok(()));
    add("look-up tables", tables(config.geo.as_deref()).await.map(|_| ()).map_err(|error| format!("{error:#}")));
    if config.collector.certificate.is_some() {
        add("certificate", convizit_collector::check_tls(&config.collector()).await);
    }
    let store = if config.data.exists() {
        open_store(&config.store(), &config.keys()).await
    } else {
        // Looking must not make anything, at a wrong place perhaps.
        let folder = config.data.display();
        Err(anyhow!(
            "the data folder {folder} does not exist: convizit project add makes it, or name the right --config"
        ))
    };
    match store {
        Err(error) => add("store", Err(format!("{error:#}"))),
        Ok(store) => {
            add("store", failing(&store).map_or(Ok(()), Err));
            let projects = store.projects().await?;
            let none = projects.is_empty();
            add(
                "projects",
                if none {
                    Err("none yet: convizit project add shop --origin https://shop.example".to_owned())
                } else {
                    Ok(())
                },
            );
            for project in &projects {
                if project.settings.origins.is_empty() {
                    add(
                        "origins",
                        Err(format!(
                            "project {0} takes events from nowhere: convizit settings set {0} origins '[\"https://shop.example\"]'",
                            project.id
                        )),
                    );
                }
            }
            for state in store.destinations(None).await? {
                if let Some(reason) = state.destination.paused {
                    let (project, name) = (&state.destination.project, &state.destination.name);
                    add(
                        "destination",
                        Err(format!(
                            "{name} of {project} is paused ({reason}): mend it, then convizit destination resume {project} {name}"
                        )),
                    );
                }
            }
            let open = store.notices(false).await?.len();
            add("notices", if open == 0 { Ok(()) } else { Err(format!("{open} open: convizit notices list")) });
            store.close().await;
        }
    }
    let problems = findings.iter().filter(|finding| finding.problem.is_some()).count();
    if json {
        let rows: Vec<_> = findings
            .iter()
            .map(|finding| serde_json::json!({"check": finding.what, "problem": finding.problem}))
            .collect();
        say(serde_json::to_string(&rows)?)?;
    } else {
        for finding in &findings {
            match &finding.problem {
                None => say(format!("ok       {}", finding.what))?,
                Some(problem) => say(format!("problem  {}: {problem}", finding.what))?,
            }
        }
    }
    if problems > 0 {
        bail!("{problems} of {} checks found something to do", findings.len());
    }
    Ok(())
}
