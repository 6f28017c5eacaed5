//! Counters, gauges and histograms.

use std::collections::{BTreeMap, HashMap};

const COUNTER: u32 = 0;
const GAUGE: u32 = 1;
const HISTOGRAM: u32 = 2;

/// The kind stands in the last bits of an id, as on Envoy.
const KIND_BITS: u32 = 2;

/// The metrics of a proxy: its workers add to the same ones.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    all: Vec<Metric>,
    ids: HashMap<(u32, String), u32>,
}

#[derive(Debug)]
struct Metric {
    name: String,
    kind: u32,
    value: u64,
}

/// Why a metric was left as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricError {
    Unknown,
    /// A counter only rises; a histogram has no value; there is no such kind.
    Senseless,
}

impl Metrics {
    pub(crate) fn define(&mut self, kind: u32, name: String) -> Result<u32, MetricError> {
        if kind > HISTOGRAM {
            return Err(MetricError::Senseless);
        }
        let next = u32::try_from(self.all.len()).map_err(|_| MetricError::Senseless)?;
        let all = &mut self.all;
        Ok(*self.ids.entry((kind, name)).or_insert_with_key(|(kind, name)| {
            all.push(Metric { name: name.clone(), kind: *kind, value: 0 });
            next << KIND_BITS | kind
        }))
    }

    fn find(&mut self, id: u32) -> Result<&mut Metric, MetricError> {
        self.all.get_mut((id >> KIND_BITS) as usize).filter(|metric| metric.kind == id & 3).ok_or(MetricError::Unknown)
    }

    pub(crate) fn increment(&mut self, id: u32, by: i64) -> Result<(), MetricError> {
        let metric = self.find(id)?;
        match metric.kind {
            COUNTER if by > 0 => metric.value = metric.value.saturating_add_signed(by),
            GAUGE => metric.value = metric.value.saturating_add_signed(by),
            _ => return Err(MetricError::Senseless),
        }
        Ok(())
    }

    pub(crate) fn record(&mut self, id: u32, value: u64) -> Result<(), MetricError> {
        let metric = self.find(id)?;
        match metric.kind {
            COUNTER => metric.value = metric.value.saturating_add(value),
            _ => metric.value = value,
        }
        Ok(())
    }

    pub(crate) fn value(&mut self, id: u32) -> Result<u64, MetricError> {
        let metric = self.find(id)?;
        if metric.kind == HISTOGRAM { Err(MetricError::Senseless) } else { Ok(metric.value) }
    }

    /// By name; of a histogram the last value.
    pub(crate) fn values(&self) -> BTreeMap<String, u64> {
        self.all.iter().map(|metric| (metric.name.clone(), metric.value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_rise_gauges_move_and_one_name_is_one_metric() {
        let mut metrics = Metrics::default();
        let counter = metrics.define(COUNTER, "a".into()).unwrap();
        let gauge = metrics.define(GAUGE, "b".into()).unwrap();
        assert_eq!(metrics.define(COUNTER, "a".into()), Ok(counter));
        assert_eq!(metrics.define(3, "c".into()), Err(MetricError::Senseless));
        assert_eq!(metrics.increment(counter, -1), Err(MetricError::Senseless));
        metrics.increment(counter, 2).unwrap();
        metrics.record(counter, 3).unwrap();
        metrics.record(gauge, 7).unwrap();
        metrics.increment(gauge, -2).unwrap();
        assert_eq!(metrics.value(counter | 1), Err(MetricError::Unknown));
        assert_eq!(metrics.increment(999, 1), Err(MetricError::Unknown));
        assert_eq!(metrics.values(), BTreeMap::from([("a".to_owned(), 5), ("b".to_owned(), 5)]));
    }
}
