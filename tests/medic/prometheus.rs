//! `/metrics` by the rules of `promtool check metrics`, and a few of the naming conventions that it does not know.
//! <https://prometheus.io/docs/practices/naming/>

use std::collections::{BTreeMap, BTreeSet};

use harness::System;
use serde_json::json;

/// A metric as it is exposed.
#[derive(Debug, Default)]
struct Family {
    help: Option<String>,
    kind: Option<String>,
    labels: BTreeSet<String>,
}

/// What follows the name of a histogram in its samples.
const OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_count", "_sum"];

/// Units of which the base unit is to be used, and their abbreviations.
const NOT_BASE_UNITS: [&str; 20] = [
    "milliseconds",
    "microseconds",
    "nanoseconds",
    "minutes",
    "hours",
    "days",
    "weeks",
    "kilobytes",
    "megabytes",
    "bits",
    "percent",
    "s",
    "ms",
    "us",
    "ns",
    "sec",
    "b",
    "kb",
    "mb",
    "gb",
];

fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) {
            let before = families.entry(name.to_owned()).or_default().help.replace(help.to_owned());
            assert_eq!(before, None, "{name} is described twice");
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' ')) {
            let before = families.entry(name.to_owned()).or_default().kind.replace(kind.to_owned());
            assert_eq!(before, None, "{name} has two types");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            let (sample, labels) = series.split_once('{').unwrap_or((series, ""));
            let of_histogram = OF_HISTOGRAMS.iter().find_map(|end| sample.strip_suffix(end));
            let name = of_histogram.filter(|name| families.contains_key(*name)).unwrap_or(sample);
            assert!(families.contains_key(name), "{name} has no type");
            families
                .get_mut(name)
                .unwrap()
                .labels
                .extend(labels.split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned())));
        }
    }
    families
}

fn problems(name: &str, family: &Family) -> Vec<&'static str> {
    let kind = family.kind.as_deref().unwrap_or_default();
    let words: Vec<_> = name.split('_').collect();
    let is_histogram = kind == "histogram";
    [
        (family.help.as_ref().is_none_or(String::is_empty), "has no help text"),
        (!matches!(kind, "counter" | "gauge" | "histogram"), "has no type"),
        (
            words.iter().any(|word| word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_lowercase())),
            "is not snake case",
        ),
        (words[0] != "medic", "has not the prefix of all"),
        ((kind == "counter") != name.ends_with("_total"), "must end in _total as a counter, and only then"),
        (words.iter().any(|word| NOT_BASE_UNITS.contains(word)), "is not in base units"),
        (words.iter().any(|word| ["counter", "gauge", "histogram", "summary"].contains(word)), "names its type"),
        (OF_HISTOGRAMS.iter().any(|end| name.ends_with(end)), "ends as samples of histograms do"),
        (is_histogram != name.ends_with("_seconds"), "must end in its unit as a histogram"),
        (is_histogram != family.labels.contains("le"), "must have buckets as a histogram, and only then"),
    ]
    .into_iter()
    .filter_map(|(is_wrong, problem)| is_wrong.then_some(problem))
    .collect()
}

#[tokio::test]
async fn metrics_keep_the_rules_of_promtool() {
    let system = System::start().await;
    system.register("checkout", 60.0, json!({})).await;
    // The tests of this process share its metrics: this makes sure of some that come with an alert.
    system.seconds(600).await;
    system.post("/heartbeat", json!({"heartbeat_name": "checkout", "status": "UP"})).await;
    let text = system.get("/metrics").await.body.as_str().unwrap().to_owned();
    let families = families(&text);
    for name in ["medic_alerts_total", "medic_detection_lag_seconds", "medic_alerts_active", "medic_heartbeats_total"] {
        assert!(families.contains_key(name), "{name} is missing:\n{text}");
    }
    let wrong: Vec<_> = families
        .iter()
        .flat_map(|(name, family)| problems(name, family).into_iter().map(move |problem| format!("{name} {problem}")))
        .collect();
    assert_eq!(wrong, [""; 0], "{text}");
}

#[test]
fn what_promtool_refuses_is_refused_here() {
    let text = "# TYPE medic_beats counter\nmedic_beats 1\n# HELP medic_wait_ms Wait.\n# TYPE medic_wait_ms gauge\nmedic_wait_ms 1\n";
    let wrong: Vec<_> = families(text).iter().flat_map(|(name, family)| problems(name, family)).collect();
    assert_eq!(wrong, ["has no help text", "must end in _total as a counter, and only then", "is not in base units"]);
}
