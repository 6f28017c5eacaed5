//! Counters, gauges and histograms.

use wasmtime::{Linker, Result};

use crate::{
    call::{Answered, Call, Status, host_calls},
    metrics::MetricError,
    state::State,
};

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    host_calls! { linker, "env":
        "proxy_define_metric" => define, (kind: u32, name: u32, name_size: u32, id: u32);
        "proxy_increment_metric" => increment, (id: u32, by: i64);
        "proxy_record_metric" => record, (id: u32, value: u64);
        "proxy_get_metric" => get, (id: u32, value: u32);
    }
    Ok(())
}

fn define(call: &mut Call<'_>, kind: u32, name: u32, name_size: u32, id: u32) -> Answered {
    let name = call.text(name, name_size)?;
    call.say(|| format!("{kind}, {name}"));
    match call.state().proxy.metrics.define(kind, name) {
        Ok(given) => {
            call.put_u32(id, given)?;
            Ok(Status::Ok)
        }
        Err(error) => Ok(wrong(call, error)),
    }
}

fn increment(call: &mut Call<'_>, id: u32, by: i64) -> Answered {
    call.say(|| format!("{id}, {by}"));
    call.state().proxy.progress += 1;
    match call.state().proxy.metrics.increment(id, by) {
        Ok(()) => Ok(Status::Ok),
        Err(error) => Ok(wrong(call, error)),
    }
}

fn record(call: &mut Call<'_>, id: u32, value: u64) -> Answered {
    call.say(|| format!("{id}, {value}"));
    call.state().proxy.progress += 1;
    match call.state().proxy.metrics.record(id, value) {
        Ok(()) => Ok(Status::Ok),
        Err(error) => Ok(wrong(call, error)),
    }
}

fn get(call: &mut Call<'_>, id: u32, value: u32) -> Answered {
    match call.state().proxy.metrics.value(id) {
        Ok(found) => {
            call.put_u64(value, found)?;
            Ok(Status::Ok)
        }
        Err(error) => Ok(wrong(call, error)),
    }
}

fn wrong(call: &mut Call<'_>, error: MetricError) -> Status {
    let (what, status) = match error {
        MetricError::Unknown => ("a metric that was never defined", Status::NotFound),
        MetricError::Senseless => ("a metric is moved as none of its kind can be", Status::BadArgument),
    };
    call.state().find(what.to_owned());
    status
}
