//! What a running process counts, in the text format 0.0.4 of Prometheus.
//!
//! Labels are words of this program and routes: nobody outside can make new ones.

use std::time::Duration;

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    core::Collector,
};

/// The counters of one process.
#[derive(Debug)]
pub struct Meters {
    registry: Registry,
    events: IntCounterVec,
    decided: Histogram,
    transactions: Histogram,
    redemptions: IntCounterVec,
    sign_ins: IntCounterVec,
    requests: IntCounterVec,
    open: IntGaugeVec,
    oldest: IntGauge,
    listeners: IntGauge,
    ledger: IntGauge,
    notices: IntGaugeVec,
}

/// What is looked up when it is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present {
    pub pending: u64,
    pub approved: u64,
    /// Seconds.
    pub oldest: u64,
    pub listeners: u64,
    pub ledger: u64,
    pub undelivered: u64,
    pub failed: u64,
}

impl Meters {
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntCounterVec::new(Opts::new(format!("holdgate_{name}"), help), labels)?)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| {
            let opts = HistogramOpts::new(format!("holdgate_{name}"), help).buckets(buckets.to_vec());
            register(&registry, Histogram::with_opts(opts)?)
        };
        let waits = [10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14_400.0, 86_400.0];
        let times = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
        let gauge = |name: &str, help: &str| {
            register(&registry, IntGauge::with_opts(Opts::new(format!("holdgate_{name}"), help))?)
        };
        let gauges = |name: &str, help: &str| {
            register(&registry, IntGaugeVec::new(Opts::new(format!("holdgate_{name}"), help), &["state"])?)
        };
        Ok(Meters {
            events: counter("events_total", "Entries of the ledger that this process wrote, by kind.", &["kind"])?,
            decided: histogram("decision_seconds", "From the opening of a hold to its approval or denial.", &waits)?,
            transactions: histogram("transaction_seconds", "Transactions of the writer, the commit included.", &times)?,
            redemptions: counter("redemptions_total", "Redemptions by what they came to.", &["result"])?,
            sign_ins: counter("sign_in_failures_total", "Sign-ins that failed.", &["reason"])?,
            requests: counter("http_requests_total", "Requests by route and status.", &["method", "route", "status"])?,
            open: gauges("holds_open", "Open holds.")?,
            oldest: gauge("oldest_hold_age_seconds", "The age of the oldest hold that waits for a decision.")?,
            listeners: gauge("feed_listeners", "Long polls that wait for news at this process.")?,
            ledger: gauge("ledger_entries", "Entries of the ledger.")?,
            notices: gauges("notices", "Notices that are to be delivered, or were given up.")?,
            registry,
        })
    }

    pub fn event(&self, kind: &str, count: u64) {
        self.events.with_label_values(&[kind]).inc_by(count);
    }

    /// A hold was approved or denied, so many seconds after it was opened.
    pub fn decided(&self, seconds: u64) {
        // Precise up to millions of years.
        self.decided.observe(Duration::from_secs(seconds).as_secs_f64());
    }

    pub fn transaction(&self, time: Duration) {
        self.transactions.observe(time.as_secs_f64());
    }

    pub fn redemption(&self, result: &str) {
        self.redemptions.with_label_values(&[result]).inc();
    }

    pub fn sign_in_failed(&self, reason: &str) {
        self.sign_ins.with_label_values(&[reason]).inc();
    }

    pub fn request(&self, method: &str, route: &str, status: &str) {
        self.requests.with_label_values(&[method, route, status]).inc();
    }

    /// All of it as text.
    pub fn write(&self, present: &Present) -> Result<Vec<u8>, prometheus::Error> {
        let Present { pending, approved, oldest, listeners, ledger, undelivered, failed } = *present;
        let set = |gauge: &IntGauge, number: u64| gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        set(&self.open.with_label_values(&["pending"]), pending);
        set(&self.open.with_label_values(&["approved"]), approved);
        set(&self.oldest, oldest);
        set(&self.listeners, listeners);
        set(&self.ledger, ledger);
        set(&self.notices.with_label_values(&["pending"]), undelivered);
        set(&self.notices.with_label_values(&["failed"]), failed);
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
