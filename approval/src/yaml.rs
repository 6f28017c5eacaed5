//! Files of settings.

use serde::de::DeserializeOwned;

/// Reads YAML. The error is one line, and has nothing of the text between quotation marks: that may be a secret.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_saphyr::from_str(text).map_err(|error| {
        let error = error.to_string();
        let line = error.lines().next().unwrap_or_default();
        let parts = line.split('"').enumerate();
        parts.map(|(at, part)| if at % 2 == 0 { part } else { "\"...\"" }).collect()
    })
}
