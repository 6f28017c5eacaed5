//! One host call: what it was given in the filter's memory, and what it gives back there.

use wasmtime::{Caller, Result, bail, error::Context as _};

use crate::state::{Pairs, State};

/// What a host call answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok = 0,
    NotFound = 1,
    BadArgument = 2,
    CasMismatch = 8,
}

impl From<Status> for u32 {
    fn from(status: Status) -> u32 {
        status as u32
    }
}

pub(crate) struct Call<'a>(Caller<'a, State>);

impl<'a> Call<'a> {
    /// Counts the call.
    pub(crate) fn new(mut caller: Caller<'a, State>, name: &'static str) -> Self {
        *caller.data_mut().calls.entry(name).or_default() += 1;
        Call(caller)
    }

    pub(crate) fn state(&mut self) -> &mut State {
        self.0.data_mut()
    }

    pub(crate) fn bytes(&self, at: u32, size: u32) -> Result<Vec<u8>> {
        let memory = self.0.data().memory.context("the filter has no memory yet")?;
        let (at, size) = (at as usize, size as usize);
        let bytes = at.checked_add(size).and_then(|end| memory.data(&self.0).get(at..end));
        let bytes = bytes.with_context(|| format!("{size} bytes at {at} are outside the filter's memory"))?;
        Ok(bytes.to_vec())
    }

    /// Text; what is no UTF-8 is replaced.
    pub(crate) fn text(&self, at: u32, size: u32) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes(at, size)?).into_owned())
    }

    pub(crate) fn pairs(&self, at: u32, size: u32) -> Result<Pairs> {
        if size == 0 {
            return Ok(Vec::new());
        }
        split(&self.bytes(at, size)?).context("a map of headers that does not have the ABI's form")
    }

    pub(crate) fn put(&mut self, at: u32, bytes: &[u8]) -> Result<()> {
        let memory = self.0.data().memory.context("the filter has no memory yet")?;
        let size = bytes.len();
        let place =
            (at as usize).checked_add(size).and_then(|end| memory.data_mut(&mut self.0).get_mut(at as usize..end));
        let place = place.with_context(|| format!("{size} bytes at {at} are outside the filter's memory"))?;
        place.copy_from_slice(bytes);
        Ok(())
    }

    pub(crate) fn put_u32(&mut self, at: u32, value: u32) -> Result<()> {
        self.put(at, &value.to_le_bytes())
    }

    pub(crate) fn put_u64(&mut self, at: u32, value: u64) -> Result<()> {
        self.put(at, &value.to_le_bytes())
    }

    /// Hands bytes over in memory that the filter allocates for them.
    pub(crate) fn give(&mut self, bytes: &[u8], data: u32, size: u32) -> Result<u32> {
        let length = u32::try_from(bytes.len()).context("more than the filter can address")?;
        let mut at = 0;
        if length > 0 {
            let allocate = self.0.data().allocate.clone().context("the filter exports no allocator")?;
            at = allocate.call(&mut self.0, length)?;
            if at == 0 {
                bail!("the filter allocates no {length} bytes");
            }
            self.put(at, bytes)?;
        }
        self.put_u32(data, at)?;
        self.put_u32(size, length)?;
        Ok(Status::Ok.into())
    }
}

/// The ABI's form of a map: a count, so many pairs of lengths, then names and values, each with a NUL.
pub(crate) fn join(pairs: &Pairs) -> Vec<u8> {
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
        assert_eq!(split(&join(&Vec::new())), Some(Vec::new()));
        let mut short = join(&vec![pair("a", b"1")]);
        short.pop();
        assert_eq!(split(&short), None);
        assert_eq!(split(&[255, 255, 255, 255, 1]), None);
    }
}
