use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use domain::{RateWindow, Receiver, TargetKind, from_millis, to_millis};

use super::*;

const DOCUMENT: &str = include_str!("../../../../docs/DATA.md");

const SERVICE: ServiceId = ServiceId::new(7);
const ALERT: AlertId = AlertId::new(3);
const API_KEY: ApiKeyId = ApiKeyId::new(1);
const PING_KEY: PingKeyId = PingKeyId::new(9);
const WINDOW: WindowId = WindowId::new(5);
const TARGET: TargetId = TargetId::new(6);
const WEBHOOK: WebhookId = WebhookId::new(8);
const PLAYBOOK: PlaybookId = PlaybookId::new(9);
const TRIGGER: TriggerId = TriggerId::new(10);

fn now() -> DateTime<Utc> {
    from_millis(1_790_000_000_123)
}

fn heartbeat() -> HeartbeatId {
    HeartbeatId::at(now(), [0; 10])
}

fn notification() -> NotificationId {
    NotificationId::at(now(), [1; 10])
}

fn delivery() -> DeliveryId {
    DeliveryId::at(now(), [2; 10])
}

fn execution() -> ExecutionId {
    ExecutionId::at(now(), [3; 10])
}

fn press() -> PressId {
    PressId::at(now(), [5; 10])
}

fn run() -> RunId {
    RunId::parse("2026-01-31T08").unwrap()
}

fn services() -> Vec<(&'static str, Key)> {
    let name = HeartbeatName::parse("Nightly-Backup").unwrap();
    vec![
        ("service: state", Key::service(SERVICE)),
        ("service: profile", Key::profile(SERVICE)),
        ("service's name", Key::service_name(&name)),
        ("heartbeat", Key::heartbeat(SERVICE, heartbeat())),
        ("idempotency key", Key::repeated_heartbeat(SERVICE, "8f14e45f")),
        ("body of a ping", Key::ping_body(SERVICE, heartbeat())),
        ("run", Key::run(SERVICE, &run())),
        ("newest unnamed run", Key::unnamed_run(SERVICE)),
        ("alert", Key::alert(ALERT)),
    ]
}

fn notifications() -> Vec<(&'static str, Key)> {
    let slack = Lane::of(&Receiver::Slack { channel: "C0ALERTS".to_owned() });
    let pagerduty = Lane::of(&Receiver::PagerDuty { service_id: SERVICE });
    let target = Receiver::Target { kind: TargetKind::Webhook, service_id: SERVICE, target_id: TARGET };
    let target = Lane::of(&target);
    let webhook = Lane::of(&Receiver::Webhook { webhook_id: WEBHOOK });
    let of = |owner| Key::notification(owner, notification());
    vec![
        ("notification of an alert", of(NotificationOwner::Alert(ALERT))),
        ("announcement", of(NotificationOwner::Window(WINDOW))),
        ("notification of a playbook", of(NotificationOwner::Execution(execution()))),
        ("notification of a circuit", of(NotificationOwner::Circuit(CircuitOf::Service(SERVICE)))),
        ("lane's head", Key::lane_head(&slack)),
        ("lane entry: Slack", Key::lane_entry(&slack, notification())),
        ("lane entry: PagerDuty", Key::lane_entry(&pagerduty, notification())),
        ("lane entry: target", Key::lane_entry(&target, notification())),
        ("lane entry: webhook", Key::delivery_entry(&webhook, delivery())),
        ("delivery", Key::delivery(WEBHOOK, delivery())),
        ("printed notification", Key::printed(notification())),
    ]
}

fn configuration_entities() -> Vec<(&'static str, Key)> {
    vec![
        ("API key", Key::api_key(API_KEY)),
        ("API key's name", Key::name("api-key", "Deploy")),
        ("ping key", Key::ping_key(PING_KEY)),
        ("ping key's name", Key::name("ping-key", "Cron")),
        ("ping key's digest", Key::ping_key_digest(&digest("0123456789ABCDEFGHIJKL"))),
        ("team", Key::team(TeamId::new(2))),
        ("team's name", Key::name("team", "Platform")),
        ("schedule", Key::schedule(ScheduleId::new(4))),
        ("schedule's name", Key::name("schedule", "Office")),
        ("maintenance window", Key::window(WINDOW)),
        ("window's name", Key::name("window", "Upgrade")),
        ("notification target", Key::target(SERVICE, TARGET)),
        ("webhook", Key::webhook(WEBHOOK)),
        ("webhook's scope", Key::webhook_scope(WEBHOOK)),
        ("playbook", Key::playbook(PLAYBOOK)),
        ("playbook's name", Key::name("playbook", "Restart")),
        ("playbook's version", Key::playbook_version(PLAYBOOK, 1)),
        ("trigger", Key::trigger(PLAYBOOK, TRIGGER)),
        ("script", Key::script(ScriptId::new(11))),
        ("script's name", Key::name("script", "Clear-Cache")),
        ("secret", Key::secret(SecretId::new(12))),
        ("secret's name", Key::name("secret", "TOKEN")),
    ]
}

fn executions() -> Vec<(&'static str, Key)> {
    let log = LogId::at(now(), [4; 10]);
    vec![
        ("repeated start", Key::repeated_execution(PLAYBOOK, "8f14e45f")),
        ("execution", Key::execution(execution())),
        ("execution's plan", Key::execution_plan(execution())),
        ("execution's step", Key::execution_step(execution(), 0)),
        ("execution's playbook", Key::execution_of_playbook(execution())),
        ("press in Slack", Key::press(execution(), press())),
        ("start", Key::start(ALERT, TRIGGER)),
        ("circuit", Key::circuit(CircuitOf::Service(SERVICE))),
        ("circuit of all", Key::circuit(CircuitOf::All)),
        ("audit entry", Key::audit(log)),
        ("audit: execution", Key::audit_pointer(AuditedBy::Execution(execution()), log)),
        ("audit: service", Key::audit_pointer(AuditedBy::Service(SERVICE), log)),
    ]
}

fn counters() -> Vec<(&'static str, Key)> {
    let limit = |key| Key::limit(key, RequestClass::Heartbeats, RateWindow::minute_of(now()));
    vec![
        ("counter: services", Key::counter("service")),
        ("counter: alerts", Key::counter("alert")),
        ("counter: API keys", Key::counter("api-key")),
        ("counter: ping keys", Key::counter("ping-key")),
        ("counter: teams", Key::counter("team")),
        ("counter: schedules", Key::counter("schedule")),
        ("counter: windows", Key::counter("window")),
        ("counter: targets", Key::counter("target")),
        ("counter: webhooks", Key::counter("webhook")),
        ("counter: playbooks", Key::counter("playbook")),
        ("counter: triggers", Key::counter("trigger")),
        ("counter: scripts", Key::counter("script")),
        ("counter: secrets", Key::counter("secret")),
        ("targets of a service", Key::counter("target#7")),
        ("webhooks of a service", Key::counter("webhook#7")),
        ("webhooks of all", Key::counter("webhook#all")),
        ("requests in a minute", limit(KeyId::Api(API_KEY))),
        ("pings in a minute", limit(KeyId::Ping(PING_KEY))),
        ("gauges", Key::stats()),
        ("pulse", Key::pulse()),
    ]
}

/// Returns one example of every item's key, with its name in the document.
fn items() -> Vec<(&'static str, Key)> {
    [services(), notifications(), configuration_entities(), executions(), counters()].concat()
}

/// Lists an example of each variant of a type: its name in the document, the value, and where it is. A variant that the
/// patterns leave out does not compile.
macro_rules! example_of_each {
    ($of:ty { $($pattern:pat => $called:expr, $value:expr, $place:expr;)+ }) => {{
        let _leaves_none_out = |value: &$of| match value { $($pattern => (),)+ };
        vec![$({
            let value: $of = $value;
            assert!(matches!(value, $pattern), "{} is an example of another variant", $called);
            ($called, value, $place)
        },)+]
    }};
}

/// Returns one example of every collection, with a place in it.
fn collections() -> Vec<(&'static str, Collection<'static>, String)> {
    let (run, id) = (run(), execution().to_string());
    let run_place = || Collection::run_place(now(), &run);
    example_of_each!(Collection<'static> {
        Collection::Services => "services", Collection::Services, Collection::sk(7);
        Collection::ServicesNamed(_) => "services of one name", Collection::ServicesNamed("backup"), Collection::sk(7);
        Collection::OpenAlerts => "open alerts", Collection::OpenAlerts, Collection::sk(3);
        Collection::ClosedAlerts => "closed alerts", Collection::ClosedAlerts, Collection::sk(3);
        Collection::ApiKeys => "API keys", Collection::ApiKeys, Collection::sk(1);
        Collection::Webhooks => "webhooks", Collection::Webhooks, Collection::sk(8);
        Collection::WebhooksFor(Some(_)) =>
            "webhooks of a service", Collection::WebhooksFor(Some(SERVICE)), Collection::sk(8);
        Collection::WebhooksFor(None) => "webhooks of all", Collection::WebhooksFor(None), Collection::sk(8);
        Collection::Deliveries => "deliveries", Collection::Deliveries, delivery().to_string();
        Collection::OpenRuns(_) => "open runs of a service", Collection::OpenRuns(SERVICE), run_place();
        Collection::StaleRuns =>
            "stale runs", Collection::StaleRuns, format!("{}{}", Collection::stale_prefix(SERVICE), run_place());
        Collection::CompletedRuns(_) =>
            "completed runs", Collection::CompletedRuns(SERVICE), Collection::completed_run_place(now(), &run, 1_500);
        Collection::OtherRuns(_) => "other runs of a service", Collection::OtherRuns(SERVICE), run_place();
        Collection::PendingExecutions => "executions to be approved", Collection::PendingExecutions, id.clone();
        Collection::OpenExecutions => "open executions", Collection::OpenExecutions, id.clone();
        Collection::EndedExecutions => "ended executions", Collection::EndedExecutions, id.clone();
        Collection::ExecutionsOfService(_) =>
            "executions of a service", Collection::ExecutionsOfService(SERVICE), id.clone();
        Collection::ExecutionsOfPlaybook(_) =>
            "executions of a playbook", Collection::ExecutionsOfPlaybook(PLAYBOOK), id;
        Collection::OpenCircuits =>
            "open circuits", Collection::OpenCircuits, Collection::circuit_place(now(), CircuitOf::Service(SERVICE));
    })
}

/// Returns one example of every kind of row that comes due, with its key.
fn due_rows() -> Vec<(&'static str, RowKind, Key)> {
    let notification = |owner| RowKind::Notification(owner, notification());
    let items = items();
    let key = |called| items.iter().find(|(item, _)| *item == called).map(|(_, key)| key.clone()).unwrap();
    let rows = example_of_each!(RowKind {
        RowKind::Service(_) => "service: state", RowKind::Service(SERVICE), ();
        RowKind::Run(..) => "run", RowKind::Run(SERVICE, run()), ();
        RowKind::Notification(NotificationOwner::Alert(_), _) =>
            "notification of an alert", notification(NotificationOwner::Alert(ALERT)), ();
        RowKind::Notification(NotificationOwner::Window(_), _) =>
            "announcement", notification(NotificationOwner::Window(WINDOW)), ();
        RowKind::Notification(NotificationOwner::Execution(_), _) =>
            "notification of a playbook", notification(NotificationOwner::Execution(execution())), ();
        RowKind::Notification(NotificationOwner::Circuit(_), _) =>
            "notification of a circuit", notification(NotificationOwner::Circuit(CircuitOf::Service(SERVICE))), ();
        RowKind::Delivery(..) => "delivery", RowKind::Delivery(WEBHOOK, delivery()), ();
        RowKind::Window(_) => "maintenance window", RowKind::Window(WINDOW), ();
        RowKind::Execution(_) => "execution", RowKind::Execution(execution()), ();
        RowKind::Press(..) => "press in Slack", RowKind::Press(execution(), press()), ();
        RowKind::Start(..) => "start", RowKind::Start(ALERT, TRIGGER), ();
        RowKind::Alert(_) => "alert", RowKind::Alert(ALERT), ();
    });
    rows.into_iter().map(|(called, kind, ())| (called, kind, key(called))).collect()
}

/// Writes every key as `docs/DATA.md` shows it.
fn layout() -> String {
    let mut text = format!("{:<26} {PK:<52} {SK}\n", "item");
    for (item, Key { pk, sk }) in items() {
        writeln!(text, "{item:<26} {pk:<52} {sk}").unwrap();
    }
    writeln!(text, "\n{:<26} {LIST_PK:<52} {LIST_SK}", format!("index {LIST_INDEX}")).unwrap();
    for (of, collection, place) in collections() {
        writeln!(text, "{of:<26} {:<52} {place}", collection.pk()).unwrap();
    }
    writeln!(text, "\n{:<26} {DUE_SHARD:<52} {DUE_AT}", format!("index {DUE_INDEX}")).unwrap();
    for (item, _, key) in due_rows() {
        writeln!(text, "{item:<26} {:<52} {}", key.shard(), to_millis(now())).unwrap();
    }
    text
}

#[test]
fn the_document_shows_every_key() {
    let layout = layout();
    let shown = DOCUMENT.split("```text\n").nth(1).and_then(|rest| rest.split("```").next());
    assert!(shown == Some(layout.as_str()), "docs/DATA.md must show this in its first fenced block:\n{layout}");
}

#[test]
fn a_row_that_can_come_due_reads_back_from_its_key_and_no_other_does() {
    let rows = due_rows();
    for (item, kind, key) in &rows {
        assert_eq!(key.row_kind().as_ref(), Some(kind), "{item}");
    }
    for (item, key) in items() {
        let is_due = rows.iter().any(|(_, _, due)| *due == key);
        assert_eq!(key.row_kind().is_some(), is_due, "{item}");
    }
}

#[test]
fn a_partition_holds_its_rows_in_the_order_of_their_ids_and_nothing_else() {
    let targets = Partition::targets(SERVICE);
    let (low, high) = targets.range(None);
    for id in [1, 9, 10, i64::MAX] {
        let Key { pk, sk } = Key::target(SERVICE, TargetId::new(id));
        assert_eq!((pk, id_in(&sk)), (targets.pk.clone(), Some(id)));
        assert!((low.clone()..=high.clone()).contains(&sk), "{sk}");
    }
    for other in ["profile", "state"] {
        assert!(!(low.clone()..=high.clone()).contains(&other.to_owned()));
    }
    let older = targets.range(Some(10)).1;
    assert!(older < Key::target(SERVICE, TargetId::new(10)).sk);
    assert_eq!(older, Key::target(SERVICE, TargetId::new(9)).sk);
}

#[test]
fn the_place_of_a_run_as_a_stamp_begins_a_part_of_its_list_with_that_run() {
    let run = |n: usize| RunId::parse(format!("run-{n}")).unwrap();
    let mut places: Vec<_> = (0..500).map(|n| Collection::run_place(now(), &run(n))).collect();
    places.push(Collection::run_place(now() + chrono::TimeDelta::milliseconds(1), &run(0)));
    places.sort_unstable();
    for (n, place) in places.iter().enumerate() {
        let highest = Collection::run_places_up_to(Collection::stamp_of_run_place(place).unwrap());
        assert_eq!(places.iter().filter(|other| **other < highest).count(), n + 1);
    }
}
