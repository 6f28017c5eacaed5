//! The demo: starts a stack on fixed ports, then waits for people, or plays their story itself.

mod story;

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use serde_json::json;

use crate::stack::{Options, PEOPLE, Stack};

/// The first port: the gateway; then reviewers' page, service for gateways, sample upstream, Envoy's admin, one spare.
pub const PORT_BASE: u16 = 8000;

/// How long the script's requests wait inline: long enough to be decided, short enough to wait for the ticket.
const SCRIPT_WAIT: &str = "8s";

/// What the command line asks for.
#[derive(Clone, Debug)]
pub struct Demo {
    pub script: bool,
    pub port_base: u16,
    pub data: PathBuf,
}

impl Demo {
    /// Runs until the story is over; by hand, until something ends by itself.
    pub async fn run(self) -> Result<()> {
        let plugin = if self.script { json!({"max_wait": SCRIPT_WAIT}) } else { json!({}) };
        let (port_base, data) = (Some(self.port_base), Some(self.data.clone()));
        let progress = |step: &str| println!("{step} ...");
        let options = Options { plugin, port_base, data, progress, ..Options::default() };
        let mut stack = Box::pin(Stack::start(options)).await?;
        if self.script {
            return Box::pin(story::play(&stack)).await;
        }
        println!("{}", welcome(&stack, &self.data));
        loop {
            stack.approval.check()?;
            stack.envoy.check()?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

fn welcome(stack: &Stack, data: &std::path::Path) -> String {
    let ports = &stack.ports;
    let sign_in = PEOPLE.iter().map(|(id, name, roles)| {
        let password = stack.password(id).unwrap_or_default();
        let note = if *id == crate::stack::OWNER { "; owns the agent, so cannot decide its requests" } else { "" };
        format!("  {id:<6} {password:<18} {name}: {}{note}\n", roles.join(", "))
    });
    let curl = |token: &str, rest: &str| format!("curl -i -H 'authorization: Bearer {token}' {rest}");
    let gateway = format!("http://{}", ports.gateway());
    let grant = format!("-H 'content-type: application/json' -d '{{\"role\":\"editor\"}}' {gateway}/iam/users/7/roles");
    let agent = stack.agent().token;
    let without_owner = stack.agent_with(json!({"sub": "agent-8", "owner": null})).token;
    format!(
        "\nReady.\n\n\
         Agents call       {gateway}\n\
         Reviewers open    http://{people}\n\
         Upstream's record http://{upstream}/__seen\n\
         Envoy's admin     http://{admin}\n\
         Data and logs     {data}\n\n\
         Sign in as\n{sign_in}\n\
         A routine request passes:\n\n{passes}\n\n\
         A change by an agent without an owner is refused:\n\n{refused}\n\n\
         Granting a role is held until a reviewer approves it; after 45 s the agent gets a ticket:\n\n{held}\n\n\
         The tokens are good for an hour. Ctrl-C stops everything.",
        people = ports.people(),
        upstream = ports.upstream(),
        admin = ports.admin(),
        data = data.display(),
        sign_in = sign_in.collect::<String>(),
        passes = curl(&agent, &format!("{gateway}/iam/users")),
        refused = curl(&without_owner, &grant),
        held = curl(&agent, &grant),
    )
}
