//! Metrics on Lambda: summed in the process, and written to stdout in CloudWatch's embedded metric format.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Metadata, Recorder, SharedString, Unit};
use metrics_util::registry::{AtomicStorage, Registry};
use serde_json::{Map, Value, json};

const NAMESPACE: &str = "Medic";
/// What was summed is written at most this often.
const WRITE_EVERY: TimeDelta = TimeDelta::seconds(10);
/// Counters that an alarm watches: they are written at once, since this process may be frozen before ten seconds are over.
const ALARMED: [&str; 3] =
    ["medic_alerts_unnotified_total", "medic_notifications_failed_total", "medic_worker_failures_total"];
/// The most values of one metric in one document.
const MAX_VALUES: usize = 100;
/// Labels of which there are as many values as services: a metric for each would cost more than Medic.
const NOT_DIMENSIONS: [&str; 1] = ["service_id"];
/// CloudWatch takes so many characters in a dimension's value.
const MAX_DIMENSION_CHARS: usize = 1_024;

/// What this process has counted and not yet written.
#[derive(Clone)]
pub(crate) struct EmbeddedMetrics {
    registry: Arc<Registry<Key, AtomicStorage>>,
    written_at_ms: Arc<AtomicI64>,
    output: Arc<Mutex<Box<dyn Write + Send>>>,
}

impl std::fmt::Debug for EmbeddedMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedMetrics").field("written_at_ms", &self.written_at_ms).finish_non_exhaustive()
    }
}

/// Metrics by name, with their values.
type Values = BTreeMap<String, (&'static str, Vec<f64>)>;

impl EmbeddedMetrics {
    /// Returns metrics that go to `output`.
    pub(crate) fn new(output: impl Write + Send + 'static) -> Self {
        Self {
            registry: Arc::new(Registry::new(AtomicStorage)),
            written_at_ms: Arc::new(AtomicI64::new(i64::MIN)),
            output: Arc::new(Mutex::new(Box::new(output))),
        }
    }

    /// Writes what was summed, unless it is less than ten seconds since that was last done and no alarm needs it.
    pub(crate) fn write_if_due(&self, now: DateTime<Utc>) {
        let now_ms = now.timestamp_millis();
        let is_alarmed = self.is_alarmed();
        let is_due = |last: i64| is_alarmed || now_ms.saturating_sub(last) >= WRITE_EVERY.num_milliseconds();
        let claim = |last: i64| is_due(last).then_some(now_ms);
        if self.written_at_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim).is_ok() {
            self.write(now);
        }
    }

    /// Returns whether something was counted that an alarm watches.
    fn is_alarmed(&self) -> bool {
        let mut is_alarmed = false;
        self.registry.visit_counters(|key, counter| {
            is_alarmed |= ALARMED.contains(&key.name()) && counter.load(Ordering::Relaxed) > 0;
        });
        is_alarmed
    }

    fn write(&self, now: DateTime<Utc>) {
        let mut text = String::new();
        for (dimensions, values) in self.take() {
            for part in parts(values) {
                text.push_str(&document(&dimensions, &part, now).to_string());
                text.push('\n');
            }
        }
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
            tracing::warn!(%error, "metrics were not written");
        }
    }

    /// Takes what was summed, by dimensions; counting begins anew.
    fn take(&self) -> BTreeMap<BTreeMap<String, String>, Values> {
        let mut all: BTreeMap<BTreeMap<String, String>, Values> = BTreeMap::new();
        let mut add = |key: &Key, unit: &'static str, values: Vec<f64>| {
            if !values.is_empty() {
                let dimensions = key.labels().map(|label| (label.key().to_owned(), dimension(label.value()))).collect();
                all.entry(dimensions).or_default().insert(key.name().to_owned(), (unit, values));
            }
        };
        self.registry.visit_counters(|key, counter| {
            let count = counter.swap(0, Ordering::Relaxed);
            #[expect(clippy::cast_precision_loss, reason = "counts of ten seconds")]
            add(key, "Count", if count == 0 { Vec::new() } else { vec![count as f64] });
        });
        // A gauge is written once for each time it was set, not for as long as this process lives.
        self.registry.retain_gauges(|key, gauge| {
            add(key, "Count", vec![f64::from_bits(gauge.load(Ordering::Relaxed))]);
            false
        });
        self.registry.visit_histograms(|key, histogram| {
            let mut values = Vec::new();
            histogram.clear_with(|block| values.extend_from_slice(block));
            let unit = if key.name().ends_with("_seconds") { "Seconds" } else { "None" };
            add(key, unit, values);
        });
        all
    }
}

impl Recorder for EmbeddedMetrics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.registry.get_or_create_counter(&with_few_labels(key), |counter| Arc::clone(counter).into())
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.registry.get_or_create_gauge(&with_few_labels(key), |gauge| Arc::clone(gauge).into())
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.registry.get_or_create_histogram(&with_few_labels(key), |histogram| Arc::clone(histogram).into())
    }
}

/// Returns a metric without the labels that are no dimensions: what they distinguish is summed.
fn with_few_labels(key: &Key) -> Key {
    let labels: Vec<Label> = key.labels().filter(|label| !NOT_DIMENSIONS.contains(&label.key())).cloned().collect();
    Key::from_parts(key.name().to_owned(), labels)
}

/// Returns a label's value as a dimension may hold it: of some printable ASCII. Teams are named by users.
fn dimension(value: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    let value: String = value.trim().trim_start_matches(':').chars().take(MAX_DIMENSION_CHARS).map(plain).collect();
    if value.is_empty() { "none".to_owned() } else { value }
}

/// Splits metrics into as many parts as their values need.
fn parts(mut values: Values) -> Vec<Values> {
    let mut parts = Vec::new();
    while !values.is_empty() {
        let mut part = Values::new();
        for (name, (unit, values)) in &mut values {
            let rest = values.split_off(values.len().min(MAX_VALUES));
            part.insert(name.clone(), (unit, std::mem::replace(values, rest)));
        }
        values.retain(|_, (_, values)| !values.is_empty());
        parts.push(part);
    }
    parts
}

/// Returns one line for CloudWatch.
fn document(dimensions: &BTreeMap<String, String>, values: &Values, now: DateTime<Utc>) -> Value {
    let names: Vec<&String> = dimensions.keys().collect();
    let metrics: Vec<Value> = values.iter().map(|(name, (unit, _))| json!({"Name": name, "Unit": unit})).collect();
    let mut document = Map::new();
    document.insert(
        "_aws".to_owned(),
        json!({
            "Timestamp": now.timestamp_millis(),
            "CloudWatchMetrics": [{"Namespace": NAMESPACE, "Dimensions": [names], "Metrics": metrics}],
        }),
    );
    document.extend(dimensions.iter().map(|(name, value)| (name.clone(), value.as_str().into())));
    document.extend(values.iter().map(|(name, (_, values))| match values[..] {
        [value] => (name.clone(), value.into()),
        _ => (name.clone(), json!(values)),
    }));
    Value::Object(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Output {
        fn lines(&self) -> Vec<Value> {
            let text = String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    #[test]
    fn what_was_counted_is_summed_and_written_every_ten_seconds() {
        let output = Output::default();
        let emf = EmbeddedMetrics::new(output.clone());
        metrics::with_local_recorder(&emf, || {
            metrics::counter!("medic_heartbeats_total", "status" => "UP").increment(2);
            emf.write_if_due(at(0));
            metrics::counter!("medic_heartbeats_total", "status" => "UP").increment(3);
            emf.write_if_due(at(9));
            metrics::counter!("medic_heartbeats_total", "status" => "UP").increment(4);
            emf.write_if_due(at(10));
            emf.write_if_due(at(20));
        });
        let expected = |seconds: i64, count: f64| {
            json!({
                "_aws": {
                    "Timestamp": at(seconds).timestamp_millis(),
                    "CloudWatchMetrics": [{
                        "Namespace": "Medic",
                        "Dimensions": [["status"]],
                        "Metrics": [{"Name": "medic_heartbeats_total", "Unit": "Count"}],
                    }],
                },
                "status": "UP",
                "medic_heartbeats_total": count,
            })
        };
        assert_eq!(output.lines(), [expected(0, 2.0), expected(10, 7.0)]);
    }

    #[test]
    fn what_an_alarm_watches_is_written_at_once() {
        let output = Output::default();
        let emf = EmbeddedMetrics::new(output.clone());
        metrics::with_local_recorder(&emf, || {
            metrics::counter!("medic_heartbeats_total", "status" => "UP").increment(2);
            emf.write_if_due(at(0));
            metrics::counter!("medic_alerts_unnotified_total").increment(1);
            emf.write_if_due(at(1));
            emf.write_if_due(at(2));
        });
        let lines = output.lines();
        assert_eq!((lines.len(), &lines[1]["medic_alerts_unnotified_total"]), (2, &json!(1.0)));
    }

    #[test]
    fn every_value_of_a_histogram_is_written_a_hundred_to_a_line() {
        let output = Output::default();
        let emf = EmbeddedMetrics::new(output.clone());
        metrics::with_local_recorder(&emf, || {
            for _ in 0..250 {
                metrics::histogram!("medic_detection_lag_seconds").record(1.5);
            }
            metrics::gauge!("medic_alerts_active").set(3.0);
        });
        emf.write_if_due(at(0));
        let lines = output.lines();
        let lengths: Vec<_> =
            lines.iter().map(|line| line["medic_detection_lag_seconds"].as_array().unwrap().len()).collect();
        assert_eq!(lengths, [100, 100, 50]);
        assert_eq!(lines[0]["medic_alerts_active"], 3.0);
        assert_eq!(lines[1]["medic_alerts_active"], Value::Null);
        assert_eq!(lines[0]["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([[]]));
    }

    #[test]
    fn a_service_is_no_dimension_and_a_team_is_one_that_cloudwatch_takes() {
        let output = Output::default();
        let emf = EmbeddedMetrics::new(output.clone());
        metrics::with_local_recorder(&emf, || {
            for service in ["1", "2"] {
                metrics::counter!("medic_circuit_breaker_trips_total", "service_id" => service).increment(1);
            }
            metrics::counter!("medic_alerts_total", "team" => "Ops \u{f6}st").increment(1);
            metrics::counter!("medic_alerts_total", "team" => "").increment(1);
        });
        emf.write_if_due(at(0));
        let lines = output.lines();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0]["medic_circuit_breaker_trips_total"], 2.0);
        assert_eq!([&lines[1]["team"], &lines[2]["team"]], ["Ops ?st", "none"]);
    }
}
