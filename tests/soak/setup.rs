//! Sets the stage and plays: receivers, Medic, services, faults, and at the end a while in which nothing fails.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use harness::Process;
use serde_json::json;
use tokio::task::JoinSet;

use crate::alerts;
use crate::clients::{Client, Clients};
use crate::delivery::{HOOK, TARGET};
use crate::facts::{Facts, now, sleep};
use crate::faults::{MedicFault, Planned, medic_faults, spells};
use crate::judge::Soak;
use crate::medic::{self, Broken, Start};
use crate::plan::ServicePlan;
use crate::receivers::{Kind, Receiver};

/// All that takes part.
pub(crate) struct Stage {
    start: Start,
    process: Process,
    began: DateTime<Utc>,
    total: TimeDelta,
    faults: Vec<Planned<MedicFault>>,
    plans: Arc<[ServicePlan]>,
    clients: Arc<Clients>,
    facts: Arc<Facts>,
    receivers: [Receiver; 3],
    /// What must not end: services, receivers, and who watches Medic.
    tasks: JoinSet<()>,
}

/// The state, and what Medic logs.
const FOLDER: &str = "target/soak";
/// Spells of receivers: a webhook has four attempts, which must outlast them.
const MAX_SPELL: TimeDelta = TimeDelta::seconds(60);
const MAX_SPELL_OF_WEBHOOKS: TimeDelta = TimeDelta::seconds(30);
const WEBHOOK_RETRY_SECONDS: i64 = 35;
/// How long Medic may take at the end until nothing is left to be done, and how often that is looked at.
const SETTLES_WITHIN: TimeDelta = TimeDelta::minutes(6);
const CALM: TimeDelta = TimeDelta::seconds(30);
const LOOK: TimeDelta = TimeDelta::seconds(10);

impl Stage {
    /// Starts Medic, and registers all services, which begin to report.
    pub(crate) async fn set(seed: u64, services: usize, total: TimeDelta) -> Result<Self, Broken> {
        let folder = Path::new(FOLDER);
        if folder.exists() {
            std::fs::remove_dir_all(folder).expect("the last soak's folder can be removed");
        }
        std::fs::create_dir_all(folder).expect("a folder");
        let [address, receivers @ ..] = addresses::<4>();
        let [slack, pagerduty, webhook] = receivers;
        let receivers = [(Kind::Slack, slack), (Kind::PagerDuty, pagerduty), (Kind::Webhook, webhook)]
            .map(|(kind, address)| Receiver::new(kind, address));
        let environment = vec![
            ("SLACK_API_TOKEN", "xoxb-soak".to_owned()),
            ("SLACK_CHANNEL_ID", "C0DEFAULT".to_owned()),
            ("MEDIC_SLACK_API_URL", format!("http://{slack}/api")),
            ("PAGERDUTY_ROUTING_KEY", "R0UTING".to_owned()),
            ("MEDIC_PAGERDUTY_URL", format!("http://{pagerduty}/v2/enqueue")),
            ("MEDIC_ALLOW_PRIVATE_HOSTS", "true".to_owned()),
            ("RUST_LOG", "warn".to_owned()),
        ];
        let start = Start { address, data_dir: folder.join("data"), environment, log: folder.join("medic.log") };
        let process = start.ready()?;

        let warm_up =
            TimeDelta::seconds(15) + TimeDelta::milliseconds(20) * i32::try_from(services).unwrap_or(i32::MAX);
        let plans: Arc<[ServicePlan]> =
            (0..services).map(|n| ServicePlan::new(seed, n, warm_up, total)).collect::<Vec<_>>().into();
        let facts = Arc::new(Facts::new(services));
        let clients = Arc::new(Clients::new(address, process.key(), Arc::clone(&facts), seed));
        let mut tasks = JoinSet::new();
        let began = now();
        for (receiver, longest) in receivers.iter().zip([MAX_SPELL, MAX_SPELL, MAX_SPELL_OF_WEBHOOKS]) {
            tasks.spawn(receiver.clone().run(began, spells(seed, receiver.kind.name(), longest, total)));
        }
        let faults = medic_faults(seed, warm_up, total);
        let stage = Self { start, process, began, total, faults, plans, clients, facts, receivers, tasks };
        Ok(stage.register(webhook).await)
    }

    async fn register(mut self, webhook: SocketAddr) -> Self {
        let clients = &self.clients;
        let hook = json!({
            "url": format!("http://{webhook}{HOOK}"), "max_attempts": 4, "retry_delays_seconds": [WEBHOOK_RETRY_SECONDS],
        });
        clients.create("/v2/webhooks", hook).await;
        let teams = self.plans.last().map_or(0, |last| last.team + 1);
        let team = |n: usize| {
            clients.create("/v2/teams", json!({"name": format!("team {n}"), "slack_channel_id": format!("C0TEAM{n}")}))
        };
        let teams: Vec<_> = join_all((0..teams).map(team)).await;
        let register = |n: usize| {
            let team = teams[self.plans[n].team]["team_id"].as_i64().expect("an id");
            let (clients, plans) = (Arc::clone(clients), Arc::clone(&self.plans));
            async move {
                let client = Client::register(&clients, n, Arc::clone(&plans), team).await;
                if plans[n].has_targets {
                    add_targets(&clients, client.id(), &plans[n], webhook).await;
                }
                client
            }
        };
        let began = self.began;
        for client in join_all((0..self.plans.len()).map(register)).await {
            self.tasks.spawn(client.live(began));
        }
        println!("Registered after {} s.", (now() - began).num_seconds());
        self
    }

    /// Lets all happen, and then waits until all is settled. Returns what there is to judge.
    pub(crate) async fn play(self) -> Result<Soak, Broken> {
        let Self { start, process, began, total, faults, plans, clients, facts, receivers, mut tasks } = self;
        tasks.spawn(medic::watch(start.address, Arc::clone(&facts)));
        let happen = async {
            let process = medic::run(&start, process, began, faults, &facts).await?;
            sleep(began + total - now()).await;
            let services = plans.iter().enumerate().map(|(n, plan)| (plan.name.clone(), n)).collect();
            let calm = now();
            loop {
                sleep(LOOK).await;
                let is_over = now() - calm > SETTLES_WITHIN;
                let Some(soak) = judged(&plans, began, &facts, &clients, &services, &receivers).await else {
                    if is_over {
                        return Err(Broken("Medic does not say which alerts there are".to_owned()));
                    }
                    continue;
                };
                let is_settled = !soak.judge().wrong.iter().any(|wrong| wrong.may_pass);
                if is_over || (is_settled && now() - calm > CALM) {
                    process.kill();
                    return Ok(soak);
                }
            }
        };
        let ended = async {
            while let Some(ended) = tasks.join_next().await {
                if let Err(error) = ended {
                    return Broken(format!("a service or a receiver ended: {error}"));
                }
            }
            Broken("nothing is left".to_owned())
        };
        tokio::select! {
            soak = happen => soak,
            broken = ended => Err(broken),
        }
    }
}

async fn judged(
    plans: &Arc<[ServicePlan]>,
    began: DateTime<Utc>,
    facts: &Arc<Facts>,
    clients: &Clients,
    services: &BTreeMap<String, usize>,
    receivers: &[Receiver; 3],
) -> Option<Soak> {
    // What arrives after the alerts were read may be of others.
    let arrivals = receivers.each_ref().map(Receiver::arrivals);
    let alerts = alerts::read(clients, services).await?;
    Some(Soak {
        plans: Arc::clone(plans),
        began,
        facts: Arc::clone(facts),
        alerts,
        arrivals,
        troubles: receivers.each_ref().map(Receiver::troubles),
    })
}

async fn add_targets(clients: &Clients, service: i64, plan: &ServicePlan, webhook: SocketAddr) {
    let targets = [
        ("slack", json!({"channel_id": plan.channel()})),
        ("pagerduty", json!({"service_key": plan.routing_key()})),
        ("webhook", json!({"url": format!("http://{webhook}{TARGET}")})),
    ];
    for (kind, config) in targets {
        let path = format!("/v2/services/{service}/notification-targets");
        clients.create(&path, json!({"type": kind, "config": config})).await;
    }
}

/// Returns free addresses, with ports that no connection is given while nobody listens there.
fn addresses<const N: usize>() -> [SocketAddr; N] {
    // Two soaks at once look in places of their own.
    let first = 20_000 + 8 * u16::try_from(std::process::id() % 1_000).unwrap_or_default();
    let mut free = (first..32_000).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    std::array::from_fn(|_| free.find(|address| std::net::TcpListener::bind(address).is_ok()).expect("a free port"))
}
