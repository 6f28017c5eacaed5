//! One host call: what it was given in the filter's memory, and what it gives back there.

use wasmtime::{Caller, Error};

use crate::{fault::FaultKind, message::Pairs, state::State};

/// What a host call answers (proxy-wasm ABI 0.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok = 0,
    NotFound = 1,
    BadArgument = 2,
    ParseFailure = 4,
    InvalidMemoryAccess = 6,
    Empty = 7,
    CasMismatch = 8,
    InternalFailure = 10,
    Unimplemented = 12,
}

/// Why a host call did not come to an answer of its own.
pub(crate) enum Fail {
    /// What the filter handed over cannot be read, or there is no place for the answer.
    Memory(String),
    /// What the filter handed over has not the form of the ABI.
    Form(&'static str),
    /// The VM cannot go on.
    Trap(Error),
}

pub(crate) type Answered = Result<Status, Fail>;

pub(crate) struct Call<'a>(Caller<'a, State>);

/// The most that is copied out of a filter's memory at once, in bytes.
const MOST: usize = 1 << 30;

impl<'a> Call<'a> {
    /// Makes a call: counts it, lets a planned fault take its place, and reports what the filter got wrong.
    pub(crate) fn make(
        mut caller: Caller<'a, State>,
        name: &'static str,
        run: impl FnOnce(&mut Call<'_>) -> Result<u32, Fail>,
    ) -> wasmtime::Result<u32> {
        let state = caller.data_mut();
        *state.calls.entry(name).or_default() += 1;
        match state.proxy.faults.next(name) {
            Some(FaultKind::Status(status)) => {
                state.trace(name, &format!("{status} (put in its way)"));
                return Ok(status);
            }
            Some(FaultKind::Trap) => return Err(Error::msg(format!("a trap was put in the way of `{name}`"))),
            None => {}
        }
        let mut call = Call(caller);
        let result = run(&mut call);
        let state = call.state();
        let status = match result {
            Ok(status) => status,
            Err(Fail::Memory(what)) => {
                state.find(format!("`{name}`: {what}"));
                Status::InvalidMemoryAccess as u32
            }
            Err(Fail::Form(what)) => {
                state.find(format!("`{name}`: {what}"));
                Status::ParseFailure as u32
            }
            Err(Fail::Trap(cause)) => return Err(cause),
        };
        if state.proxy.trace.is_some() {
            state.trace(name, &word(status));
        }
        Ok(status)
    }

    pub(crate) fn state(&mut self) -> &mut State {
        self.0.data_mut()
    }

    /// Says for the trace what the call was given.
    pub(crate) fn say(&mut self, said: impl FnOnce() -> String) {
        let state = self.state();
        if state.proxy.trace.is_some() {
            state.said = said();
        }
    }

    pub(crate) fn bytes(&self, at: u32, size: u32) -> Result<Vec<u8>, Fail> {
        let outside = || Fail::Memory(format!("{size} bytes at {at} are outside the filter's memory"));
        let memory = self.0.data().memory.ok_or_else(outside)?;
        let (from, size) = (at as usize, size as usize);
        let end = from.checked_add(size).filter(|_| size <= MOST);
        let bytes = end.and_then(|end| memory.data(&self.0).get(from..end));
        Ok(bytes.ok_or_else(outside)?.to_vec())
    }

    /// Text; what is no UTF-8 is replaced.
    pub(crate) fn text(&self, at: u32, size: u32) -> Result<String, Fail> {
        Ok(String::from_utf8_lossy(&self.bytes(at, size)?).into_owned())
    }

    pub(crate) fn pairs(&self, at: u32, size: u32) -> Result<Pairs, Fail> {
        if size == 0 {
            return Ok(Vec::new());
        }
        split(&self.bytes(at, size)?).ok_or(Fail::Form("a map that has not the form of the ABI"))
    }

    pub(crate) fn put(&mut self, at: u32, bytes: &[u8]) -> Result<(), Fail> {
        let size = bytes.len();
        let outside = || Fail::Memory(format!("{size} bytes at {at} are outside the filter's memory"));
        let memory = self.0.data().memory.ok_or_else(outside)?;
        let from = at as usize;
        let place = from.checked_add(size).and_then(|end| memory.data_mut(&mut self.0).get_mut(from..end));
        place.ok_or_else(outside)?.copy_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn put_u32(&mut self, at: u32, value: u32) -> Result<(), Fail> {
        self.put(at, &value.to_le_bytes())
    }

    pub(crate) fn put_u64(&mut self, at: u32, value: u64) -> Result<(), Fail> {
        self.put(at, &value.to_le_bytes())
    }

    /// Hands bytes over in memory that the filter allocates for them.
    pub(crate) fn give(&mut self, bytes: &[u8], data: u32, size: u32) -> Answered {
        let length = u32::try_from(bytes.len()).map_err(|_| Fail::Memory("more than can be addressed".into()))?;
        let mut at = 0;
        if length > 0 {
            let allocate = self.0.data().allocate.clone();
            let allocate = allocate.ok_or_else(|| Fail::Memory("the filter exports no allocator".into()))?;
            at = allocate.call(&mut self.0, length).map_err(Fail::Trap)?;
            if at == 0 {
                return Err(Fail::Memory(format!("the filter allocates no {length} bytes")));
            }
            self.put(at, bytes)?;
        }
        self.put_u32(data, at)?;
        self.put_u32(size, length)?;
        Ok(Status::Ok)
    }
}

impl State {
    fn trace(&mut self, name: &str, outcome: &str) {
        let said = std::mem::take(&mut self.said);
        let context = self.effective;
        if let Some(trace) = &mut self.proxy.trace {
            let name = name.strip_prefix("proxy_").unwrap_or(name);
            trace.note(self.proxy.now, self.worker, &format!("  #{context} {name}({said}) -> {outcome}"));
        }
    }
}

/// The name of a status.
fn word(status: u32) -> String {
    let known = [
        (Status::Ok, "ok"),
        (Status::NotFound, "not found"),
        (Status::BadArgument, "bad argument"),
        (Status::ParseFailure, "parse failure"),
        (Status::InvalidMemoryAccess, "invalid memory access"),
        (Status::Empty, "empty"),
        (Status::CasMismatch, "cas mismatch"),
        (Status::InternalFailure, "internal failure"),
        (Status::Unimplemented, "unimplemented"),
    ];
    let found = known.iter().find(|(known, _)| *known as u32 == status);
    found.map_or_else(|| status.to_string(), |(_, word)| (*word).to_owned())
}

/// Registers host calls: a name of the ABI, the function behind it, and what the filter hands over.
macro_rules! host_calls {
    ($linker:expr, $module:literal: $($name:literal => $function:path, ($($argument:ident: $kind:ty),*);)*) => {
        $($linker.func_wrap($module, $name, |caller: wasmtime::Caller<'_, $crate::state::State>, $($argument: $kind),*| {
            $crate::call::Call::make(caller, $name, |call| $function(call, $($argument),*).map(|answer| answer as u32))
        })?;)*
    };
}
pub(crate) use host_calls;

/// The ABI's form of a map: a count, so many pairs of lengths, then names and values, each with a NUL.
pub(crate) fn join(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let length = |bytes: &Vec<u8>| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut joined = u32::try_from(pairs.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    joined.extend(pairs.iter().flat_map(|(name, value)| [length(name), length(value)]).flatten());
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        joined.extend(text);
        joined.push(0);
    }
    joined
}

fn split(bytes: &[u8]) -> Option<Pairs> {
    let (count, rest) = bytes.split_first_chunk::<4>()?;
    let (lengths, mut data) = rest.split_at_checked((u32::from_le_bytes(*count) as usize).checked_mul(8)?)?;
    let mut take = |length: &[u8; 4]| {
        let (text, rest) = data.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        data = rest.get(1..)?;
        Some(text.to_vec())
    };
    let (lengths, _) = lengths.as_chunks::<4>();
    let (pairs, _) = lengths.as_chunks::<2>();
    pairs.iter().map(|[name, value]| Some((take(name)?, take(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_of_headers_survive_the_way_through_memory() {
        let pair = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
        let pairs = vec![pair(":path", b"/"), pair("a", b"1"), pair("a", b""), pair("b", b"\xff\0")];
        assert_eq!(split(&join(&pairs)), Some(pairs));
        assert_eq!(split(&join(&[])), Some(Vec::new()));
        let mut short = join(&[pair("a", b"1")]);
        short.pop();
        assert_eq!(split(&short), None);
        assert_eq!(split(&[255, 255, 255, 255, 1]), None);
    }
}
