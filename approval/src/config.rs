//! Settings of `serve` from a file: what it says counts where neither an argument nor the environment says something else.

use std::{ffi::OsString, fs, path::Path};

use clap::{ArgAction, Command, CommandFactory as _, FromArgMatches as _};
use serde_json::{Map, Value};

use crate::{
    cli::{Arguments, CliError},
    yaml,
};

/// The largest file, in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// What a file cannot set.
const NOT_THERE: [&str; 3] = ["config", "help", "version"];

/// Reads the command line. A file that `serve --config` or `HOLDGATE_CONFIG` names gives the defaults.
///
/// What clap itself refuses ends the process with its own message.
pub fn arguments(arguments: Vec<OsString>) -> Result<Arguments, CliError> {
    let mut command = Arguments::command();
    if let Some(path) = file_of(&arguments) {
        let values = read(Path::new(&path))?;
        let mut result = Ok(());
        command = command.mut_subcommand("serve", |serve| match with_defaults(serve.clone(), &values) {
            Ok(serve) => serve,
            Err(error) => {
                result = Err(CliError::new(format!("`{}`: {error}", Path::new(&path).display())));
                serve
            }
        });
        result?;
    }
    let matches = command.get_matches_from(arguments);
    Arguments::from_arg_matches(&matches).map_err(|error| error.exit())
}

/// The file that `serve` is told to read.
fn file_of(arguments: &[OsString]) -> Option<OsString> {
    let mut rest = arguments.iter().skip(1);
    if rest.next().is_none_or(|task| task != "serve") {
        return None;
    }
    while let Some(argument) = rest.next() {
        if argument == "--config" {
            return rest.next().cloned();
        }
        if let Some(path) = argument.to_str().and_then(|text| text.strip_prefix("--config=")) {
            return Some(path.into());
        }
    }
    std::env::var_os("HOLDGATE_CONFIG").filter(|path| !path.is_empty())
}

fn read(path: &Path) -> Result<Map<String, Value>, CliError> {
    let shown = path.display();
    if fs::metadata(path).is_ok_and(|file| file.len() > MAX_FILE) {
        return Err(CliError::new(format!("`{shown}` is larger than {MAX_FILE} bytes")));
    }
    let text = fs::read_to_string(path);
    let text = text.map_err(|error| CliError::new(format!("`{shown}` cannot be read: {error}")))?;
    yaml::read(&text).map_err(|error| CliError::new(format!("`{shown}` is not a list of settings: {error}")))
}

/// The same command, whose options have these values unless they are given.
fn with_defaults(mut serve: Command, values: &Map<String, Value>) -> Result<Command, String> {
    for (name, value) in values {
        let known = |argument: &&clap::Arg| argument.get_long() == Some(name.as_str());
        let Some(argument) = serve.get_arguments().find(known).filter(|_| !NOT_THERE.contains(&name.as_str())) else {
            return Err(unknown(&serve, name));
        };
        let many = matches!(argument.get_action(), ArgAction::Append);
        let texts = match value {
            Value::Array(items) if many => items.iter().map(text).collect::<Option<Vec<_>>>(),
            value => text(value).map(|text| vec![text]),
        };
        let texts = texts.ok_or_else(|| format!("`{name}` is a text, a number, or `true` or `false`"))?;
        let id = argument.get_id().clone();
        serve = serve.mut_arg(id, |argument| argument.required(false).default_values(texts));
    }
    Ok(serve)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn unknown(serve: &Command, name: &str) -> String {
    let names = serve.get_arguments().filter_map(clap::Arg::get_long).filter(|name| !NOT_THERE.contains(name));
    let names: Vec<&str> = names.collect();
    let near = names.iter().copied().find(|known| *known == name.replace('_', "-"));
    match near {
        Some(near) => format!("no setting is called `{name}`; use `{near}`"),
        None => format!("no setting is called `{name}`; there are {}", names.join(", ")),
    }
}
