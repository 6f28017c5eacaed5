//! The header map of a request as a host hands it over.

use super::{Malformed, Span, malformed};

/// All names and values of a header map in one piece, in the order of arrival.
#[derive(Debug, Default)]
pub struct Pairs {
    /// Each name and each value, with a NUL behind it.
    bytes: Vec<u8>,
    lengths: Lengths,
}

/// The lengths of names and values, in bytes.
#[derive(Debug, Default)]
pub(super) struct Lengths(Vec<(usize, usize)>);

impl Pairs {
    /// Takes the serialised form of proxy-wasm (ABI 0.2.1) apart: a count, so many pairs of lengths, then names and values.
    /// `None` where the lengths are not those of what follows.
    pub fn read(mut bytes: Vec<u8>) -> Option<Pairs> {
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let (lengths, data) = rest.split_at_checked(count.checked_mul(8)?)?;
        let length = |bytes: &[u8; 4]| usize::try_from(u32::from_le_bytes(*bytes)).ok();
        let (lengths, _) = lengths.as_chunks::<4>();
        let (lengths, _) = lengths.as_chunks::<2>();
        let mut pairs = Vec::with_capacity(lengths.len());
        let mut left = data.len();
        for [name, value] in lengths {
            let (name, value) = (length(name)?, length(value)?);
            left = left.checked_sub(name.checked_add(value)?.checked_add(2)?)?;
            pairs.push((name, value));
        }
        let start = bytes.len() - data.len();
        bytes.drain(..start);
        Some(Pairs { bytes, lengths: Lengths(pairs) })
    }

    /// The pairs with this value under a name, in place of what stands there.
    #[must_use]
    pub fn with(&self, name: &[u8], value: &[u8]) -> Pairs {
        let part = |span: Span| self.bytes.get(span.from..span.to).unwrap_or_default();
        let pairs = self.lengths.spans().map(|(name, value)| (part(name), part(value)));
        pairs.filter(|(other, _)| *other != name).chain([(name, value)]).collect()
    }

    /// The names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.lengths.spans().filter_map(|(name, _)| self.bytes.get(name.from..name.to))
    }

    /// The text and the places in it, if all of it is UTF-8.
    pub(super) fn into_text(self) -> Result<(String, Lengths), Malformed> {
        let Pairs { bytes, lengths } = self;
        // A NUL stands between the parts, so that each is UTF-8 if all is.
        let bytes = match String::from_utf8(bytes) {
            Ok(text) => return Ok((text, lengths)),
            Err(error) => error.into_bytes(),
        };
        for (name, value) in lengths.spans() {
            let text = |span: Span| bytes.get(span.from..span.to).and_then(|text| str::from_utf8(text).ok());
            let Some(name) = text(name) else { return malformed("a header name is not ASCII") };
            if text(value).is_none() {
                return malformed(format!("the value of `{name}` is not UTF-8"));
            }
        }
        malformed("the header is not UTF-8")
    }
}

impl Lengths {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The places of each name and value.
    pub(super) fn spans(&self) -> impl Iterator<Item = (Span, Span)> {
        self.0.iter().scan(0, |from, (name, value)| {
            let name = Span { from: *from, to: *from + name };
            let value = Span { from: name.to + 1, to: name.to + 1 + value };
            *from = value.to + 1;
            Some((name, value))
        })
    }
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Pairs {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut all = Pairs::default();
        for (name, value) in pairs {
            let (name, value) = (name.as_ref(), value.as_ref());
            all.bytes.extend_from_slice(&[name, b"\0", value, b"\0"].concat());
            all.lengths.0.push((name.len(), value.len()));
        }
        all
    }
}

impl From<Vec<(Vec<u8>, Vec<u8>)>> for Pairs {
    fn from(pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        pairs.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serialised(pairs: &[(&str, &str)]) -> Vec<u8> {
        let number = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
        let mut bytes = number(pairs.len()).to_vec();
        pairs.iter().for_each(|(name, value)| bytes.extend([number(name.len()), number(value.len())].concat()));
        pairs.iter().for_each(|(name, value)| bytes.extend_from_slice(format!("{name}\0{value}\0").as_bytes()));
        bytes
    }

    #[test]
    fn what_a_host_serialises_is_read_as_what_it_means() {
        for pairs in [&[][..], &[("a", "")], &[(":path", "/x"), ("x-a", "é"), ("x-a", "2")]] {
            let read = Pairs::read(serialised(pairs)).unwrap();
            assert_eq!(read.bytes, pairs.iter().copied().collect::<Pairs>().bytes);
            let (text, lengths) = read.into_text().unwrap();
            let found: Vec<_> = lengths.spans().map(|(name, value)| (name.of(&text), value.of(&text))).collect();
            assert_eq!(found, pairs);
        }
    }

    #[test]
    fn one_value_takes_the_place_of_another() {
        let pairs = Pairs::from_iter([(":path", "/a/b"), ("x-a", "1")]).with(b":path", b"/a%2Fb");
        assert_eq!(pairs.bytes, Pairs::from_iter([("x-a", "1"), (":path", "/a%2Fb")]).bytes);
    }

    #[test]
    fn lengths_that_lead_beyond_the_end_are_refused_and_every_cut_is() {
        let good = serialised(&[(":path", "/x"), ("x-a", "1")]);
        for cut in 0..good.len() {
            assert!(Pairs::read(good[..cut].to_vec()).is_none(), "{cut}");
        }
        for place in 0..20 {
            let mut bytes = good.clone();
            bytes[place] = 0xff;
            assert!(Pairs::read(bytes).is_none(), "{place}");
        }
    }

    #[test]
    fn what_is_not_utf_8_is_refused_by_its_name() {
        let wrong = |name: &[u8], value: &[u8]| Pairs::from_iter([(name, value)]).into_text().unwrap_err().0;
        assert_eq!(wrong(b"x-a", b"\xff"), "the value of `x-a` is not UTF-8");
        assert_eq!(wrong(b"\xff", b"1"), "a header name is not ASCII");
        // Half a character in a name and its other half in the value.
        assert!(Pairs::from_iter([(b"x\xc3", b"\xa9")]).into_text().is_err());
    }
}
