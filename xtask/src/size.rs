//! The limit of holdgate.wasm: a filter is loaded by each worker of each proxy, so that its size is part of its contract.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

/// Bytes.
const LIMIT: u64 = 1_048_576;

/// Fails where the filter is larger than its limit; says its size where it is not.
pub(crate) fn check(filter: &Path) -> Result<()> {
    let size = filter.metadata().context("holdgate.wasm is not there")?.len();
    ensure!(size <= LIMIT, "holdgate.wasm has {size} bytes, {} more than its limit of {LIMIT}", size - LIMIT);
    println!("holdgate.wasm has {size} bytes, {} less than its limit of {LIMIT}", LIMIT - size);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_over_its_limit_is_refused_with_its_size() {
        let file = std::env::temp_dir().join(format!("holdgate-size-{}", std::process::id()));
        let of_size = |size: u64| {
            std::fs::File::create(&file).unwrap().set_len(size).unwrap();
            check(&file).map_err(|error| error.to_string())
        };
        assert_eq!(of_size(LIMIT), Ok(()));
        let refused = of_size(LIMIT + 1).unwrap_err();
        assert_eq!(refused, "holdgate.wasm has 1048577 bytes, 1 more than its limit of 1048576");
        std::fs::remove_file(&file).unwrap();
        assert!(check(&file).is_err());
    }
}
