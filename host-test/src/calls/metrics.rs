//! Counters, gauges and histograms.

use wasmtime::{Caller, Linker, Result};

use crate::{
    call::{Call, Status},
    state::{Metric, State},
};

const HISTOGRAM: u32 = 2;

pub(super) fn add(linker: &mut Linker<State>) -> Result<()> {
    linker.func_wrap("env", "proxy_define_metric", define)?;
    linker.func_wrap("env", "proxy_increment_metric", increment)?;
    linker.func_wrap("env", "proxy_record_metric", record)?;
    linker.func_wrap("env", "proxy_get_metric", get)?;
    Ok(())
}

fn define(caller: Caller<'_, State>, kind: u32, name: u32, name_size: u32, id: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_define_metric");
    let name = call.text(name, name_size)?;
    if kind > HISTOGRAM {
        return Ok(Status::BadArgument.into());
    }
    let metrics = &mut call.state().metrics;
    let known = metrics.iter().position(|metric| metric.name == name && metric.kind == kind);
    let given = known.unwrap_or_else(|| {
        metrics.push(Metric { name, kind, value: 0 });
        metrics.len() - 1
    });
    call.put_u32(id, u32::try_from(given)?)?;
    Ok(Status::Ok.into())
}

fn increment(caller: Caller<'_, State>, id: u32, by: i64) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_increment_metric");
    let Some(metric) = call.state().metrics.get_mut(id as usize) else { return Ok(Status::NotFound.into()) };
    metric.value = metric.value.saturating_add_signed(by);
    Ok(Status::Ok.into())
}

fn record(caller: Caller<'_, State>, id: u32, value: u64) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_record_metric");
    let Some(metric) = call.state().metrics.get_mut(id as usize) else { return Ok(Status::NotFound.into()) };
    metric.value = value;
    Ok(Status::Ok.into())
}

fn get(caller: Caller<'_, State>, id: u32, value: u32) -> Result<u32> {
    let mut call = Call::new(caller, "proxy_get_metric");
    let Some(found) = call.state().metrics.get(id as usize).map(|metric| metric.value) else {
        return Ok(Status::NotFound.into());
    };
    call.put_u64(value, found)?;
    Ok(Status::Ok.into())
}
