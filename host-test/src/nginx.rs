//! What ngx_wasm_module shows of a request in another form than it came in.

use crate::message::Pairs;

/// The headers with the path as nginx has decoded and cleaned it; the upstream gets the one that came.
pub(crate) fn as_shown(mut headers: Pairs) -> Pairs {
    if let Some((_, path)) = headers.iter_mut().find(|(name, _)| name == b":path") {
        *path = cleaned(path);
    }
    headers
}

fn cleaned(target: &[u8]) -> Vec<u8> {
    let mut parts = target.splitn(2, |byte| *byte == b'?');
    let (path, query) = (parts.next().unwrap_or_default(), parts.next());
    let mut segments: Vec<&[u8]> = Vec::new();
    let decoded = decoded(path);
    let all: Vec<&[u8]> = decoded.split(|byte| *byte == b'/').skip(1).collect();
    for (at, segment) in all.iter().enumerate() {
        let last = at + 1 == all.len();
        match *segment {
            b"" | b"." if !last => {}
            b"." => segments.push(b""),
            b".." => {
                segments.pop();
                if last {
                    segments.push(b"");
                }
            }
            other => segments.push(other),
        }
    }
    let mut clean = Vec::new();
    for segment in segments {
        clean.push(b'/');
        clean.extend(segment);
    }
    if clean.is_empty() {
        clean.push(b'/');
    }
    if let Some(query) = query {
        clean.push(b'?');
        clean.extend(query);
    }
    clean
}

fn decoded(path: &[u8]) -> Vec<u8> {
    let mut rest = path;
    let mut out = Vec::with_capacity(path.len());
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    while let Some((first, after)) = rest.split_first() {
        let escape = match (first, after) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        out.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_shown_as_nginx_cleans_them() {
        let clean = |path: &str| String::from_utf8(cleaned(path.as_bytes())).unwrap();
        assert_eq!(clean("/a//b/./c/../d%2Fe?x=%2F"), "/a/b/d/e?x=%2F");
        assert_eq!(clean("/.."), "/");
        assert_eq!(clean("/a/."), "/a/");
        assert_eq!(clean("/%zz"), "/%zz");
    }
}
