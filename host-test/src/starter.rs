//! `holdgate new`.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::{
    failure::Failure,
    files::{self, Access},
    output::Outcome,
};

/// The file to start from, with `NAME` where the policy's name goes.
const STARTER: &str = include_str!("starter.yaml");

/// Words that are no texts to some reader of YAML.
const NO_TEXTS: [&str; 9] = ["n", "no", "false", "off", "y", "yes", "true", "on", "null"];

/// Text that is the whole result.
#[derive(Serialize)]
pub(crate) struct Text {
    pub(crate) text: String,
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Where the file lies.
#[derive(Serialize)]
struct Written {
    policy: String,
    file: String,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Written { file, .. } = self;
        writeln!(f, "wrote {file}\nnext: holdgate check {file}\n      holdgate test {file}")
    }
}

/// Writes a rule file that passes `check` and `test` as it is.
pub(crate) fn write(name: &str, out: Option<PathBuf>) -> Result<Outcome, Failure> {
    let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !is_name {
        return Err(Failure::PolicyName(name.to_owned()));
    }
    let quoted = if NO_TEXTS.contains(&name.to_lowercase().as_str()) { format!("\"{name}\"") } else { name.to_owned() };
    let text = STARTER.replace("policy: NAME", &format!("policy: {quoted}")).replace("NAME", name);
    let file = out.unwrap_or_else(|| format!("{name}.yaml").into());
    if file == Path::new("-") {
        return Outcome::good(&Text { text });
    }
    files::write_new(&file, text.as_bytes(), Access::Public)?;
    Outcome::good(&Written { policy: name.to_owned(), file: file.display().to_string() })
}
