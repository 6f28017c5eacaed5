//! Keys, and what is done with a whole database: its first keys, backup, and what follows a restore.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, Subcommand};
use holdgate_protocol::{
    Json, duration,
    jws::{Jwks, Keys, PrivateKey},
};
use serde_json::{Value, json};

use super::{CliError, Data, alone, database_url, fail, named};
use crate::{
    clock::{Clock as _, WallClock},
    keys::{KeyState, KeysError, SET_TYPE, ServiceKeys, read_authors, read_private},
    random,
    sealing::DataKeys,
    service::{
        decide::check_reason,
        keys::{AFTER, ImportAuthors, Make, Retire, Rotate, Rotated},
        restored::Restored,
    },
    store::{
        Database, is_shared,
        keys::{self, Purpose},
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum KeyTask {
    /// List keys with their states and times (Unix seconds), and the data keys that captures are sealed with.
    List(Data),
    /// Print the public keys of a purpose that are not retired, a JWKS: what gateways pin, or auditors.
    Export {
        purpose: Purpose,
        /// Those that are, instead: by them an auditor reads what they signed in their time.
        #[arg(long)]
        retired: bool,
        #[command(flatten)]
        data: Data,
    },
    /// Make a key that follows the one that signs. Pin it at all gateways before it does.
    Rotate {
        purpose: Purpose,
        #[command(flatten)]
        times: Times,
        #[command(flatten)]
        data: Data,
    },
    /// The same with a key of one's own: a private Ed25519 JWK.
    Import {
        file: PathBuf,
        #[arg(long, default_value = "grant")]
        purpose: Purpose,
        #[command(flatten)]
        times: Times,
        #[command(flatten)]
        data: Data,
    },
    /// Retire a key before its time. Its private half is deleted.
    Retire {
        kid: String,
        /// Also if it is the one that signs: the next one signs from now on. Without another, nothing is redeemed.
        #[arg(long)]
        now: bool,
        /// Why, for the ledger.
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        data: Data,
    },
    /// Verify the answer of `GET /v1/keys` by keys that are pinned already, and print the key set that it signs.
    Check {
        /// The pinned keys, a JWKS file.
        #[arg(long, value_name = "JWKS")]
        pinned: PathBuf,
        /// The answer, a file.
        answer: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(super) struct Times {
    /// For how long it is known before it signs.
    #[arg(long, value_name = "TIME", value_parser = time, default_value_t = Seconds(AFTER))]
    after: Seconds,
    /// For how long the former key is known after that; at least 90s.
    #[arg(long, value_name = "TIME", value_parser = time, default_value_t = Seconds(AFTER))]
    overlap: Seconds,
}

#[derive(Clone, Copy, Debug)]
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}s", self.0)
    }
}

fn time(text: &str) -> Result<Seconds, String> {
    let seconds = if text == "0s" { Some(0) } else { duration::seconds(text) };
    seconds.map(Seconds).ok_or_else(|| "use a number and one of `s`, `m`, `h`, `d`".to_owned())
}

#[derive(Debug, Subcommand)]
pub(super) enum AuthorsTask {
    /// Put the keys of a JWKS file in the place of the policy authors' keys.
    Import {
        file: PathBuf,
        #[command(flatten)]
        data: Data,
    },
    /// Print the policy authors' keys, a JWKS.
    List(Data),
}

#[derive(Debug, Args)]
pub(super) struct Backup {
    #[command(flatten)]
    data: Data,
    /// A new file.
    #[arg(long = "to", value_name = "FILE")]
    file: PathBuf,
}

pub(super) async fn key(task: KeyTask) -> Result<(), CliError> {
    match task {
        KeyTask::List(data) => list(&data.folder).await,
        KeyTask::Export { purpose, retired, data } => {
            let (store, keys) = with_keys(&data.folder).await?;
            let now = WallClock.now();
            if !retired {
                return print_json(&json!(keys.published(purpose, now)));
            }
            let mut all = keys::all(&mut store.read().await.map_err(named)?).await.map_err(named)?;
            all.retain(|key| key.purpose == purpose && key.is_retired(now));
            print_json(&json!(Jwks { keys: all.into_iter().map(|key| key.public).collect() }))
        }
        KeyTask::Rotate { purpose, times, data } => rotate(&data.folder, purpose, new_key()?, times).await,
        KeyTask::Import { file, purpose, times, data } => {
            rotate(&data.folder, purpose, read_private(&file).map_err(named)?, times).await
        }
        KeyTask::Retire { kid, now, reason, data } => retire(&data.folder, kid, now, reason).await,
        KeyTask::Check { pinned, answer } => check(&pinned, &answer),
    }
}

pub(super) async fn authors(task: AuthorsTask) -> Result<(), CliError> {
    match task {
        AuthorsTask::Import { file, data } => {
            let (authors, _) = read_authors(&file).map_err(named)?;
            let store = existing(&data.folder).await?;
            let number = authors.keys.len();
            store.write(ImportAuthors { authors, now: WallClock.now() }).await.map_err(named)?;
            println!("policy authors' keys: {number}");
            Ok(())
        }
        AuthorsTask::List(data) => {
            let store = existing(&data.folder).await?;
            let mut connection = store.read().await.map_err(named)?;
            let keyring = keys::keyring(&mut connection).await.map_err(named)?.ok_or(KeysError::NotMade);
            print_json(&json!(keyring.map_err(named)?.authors))
        }
    }
}

pub(super) async fn backup(backup: Backup) -> Result<(), CliError> {
    let store = existing(&backup.data.folder).await?;
    store.copy(&backup.file).await.map_err(named)?;
    println!("wrote {}; the data key is not in it", backup.file.display());
    Ok(())
}

pub(super) async fn restored(data: &Path) -> Result<(), CliError> {
    let _alone = if is_shared(&database_url(data)) { None } else { Some(alone(data)?) };
    let store = existing(data).await?;
    let identity = store.identity().await.map_err(named)?;
    let cancelled = store.write(Restored { identity, now: WallClock.now() }).await.map_err(named)?;
    println!(
        "holds that were cancelled: {cancelled}; look at suspended agents, credentials and keys that were changed since the backup"
    );
    Ok(())
}

/// Makes the first keys of a database, and writes their public halves into the data folder.
pub(super) async fn make(
    store: &Database,
    data: &Path,
    authors: Jwks,
    (grant, ledger): (PrivateKey, PrivateKey),
) -> Result<(), CliError> {
    let keys = Arc::new(DataKeys::find_or_make(data).map_err(named)?);
    let identity = store.identity().await.map_err(named)?;
    store
        .write(Make { data: keys.clone(), identity, authors, grant, ledger, now: WallClock.now() })
        .await
        .map_err(named)?;
    write_public(data, &ServiceKeys::load(store, keys).await.map_err(named)?)
}

/// Whether keys were made in a database.
pub(super) async fn is_made(store: &Database) -> Result<bool, CliError> {
    let mut connection = store.read().await.map_err(named)?;
    Ok(keys::keyring(&mut connection).await.map_err(named)?.is_some())
}

/// Opens a database in which keys were made; takes those of an older version from its data folder.
pub(super) async fn existing(data: &Path) -> Result<Database, CliError> {
    let url = database_url(data);
    let none = || fail(format!("`{}` is no data folder; make one with `holdgate-approval init`", data.display()));
    if !is_shared(&url) && !data.is_dir() {
        return none();
    }
    let store = Database::open(&url, false).await.map_err(named)?;
    if is_made(&store).await? {
        return Ok(store);
    }
    let [grant, ledger] = ["grant.jwk", "ledger.jwk"].map(|name| data.join(name));
    if !grant.exists() {
        return none();
    }
    let (authors, _) = read_authors(&data.join("authors.jwks.json")).map_err(named)?;
    let pair = (read_private(&grant).map_err(named)?, read_private(&ledger).map_err(named)?);
    make(&store, data, authors, pair).await?;
    tracing::warn!(grant = %grant.display(), ledger = %ledger.display(), "these keys are in the database now; delete the files");
    Ok(store)
}

/// Opens a database with its keys.
pub(super) async fn with_keys(data: &Path) -> Result<(Database, ServiceKeys), CliError> {
    let store = existing(data).await?;
    let keys = Arc::new(DataKeys::find(data).map_err(named)?);
    let keys = ServiceKeys::load(&store, keys).await.map_err(named)?;
    Ok((store, keys))
}

/// A new private key.
pub(super) fn new_key() -> Result<PrivateKey, CliError> {
    Ok(PrivateKey::from_seed(&random::bytes().map_err(named)?))
}

async fn list(data: &Path) -> Result<(), CliError> {
    let (store, service) = with_keys(data).await?;
    let mut connection = store.read().await.map_err(named)?;
    let (all, now) = (keys::all(&mut connection).await.map_err(named)?, WallClock.now());
    for key in &all {
        let state = KeyState::of(key, &all, now).as_str();
        let until = key.retires_at.map_or("-".to_owned(), |at| at.to_string());
        let (purpose, kid, from) = (key.purpose.as_str(), &key.public.kid, key.signs_from);
        println!("{purpose:<7} {kid:<24} {state:<8} signs from {from}, retires {until}");
    }
    println!("data key {} seals", service.data.first());
    for (id, captures) in keys::sealed_with(&mut connection).await.map_err(named)? {
        println!("data key {:<16} captures {captures}", if id.is_empty() { "none" } else { &id });
    }
    Ok(())
}

async fn rotate(data: &Path, purpose: Purpose, key: PrivateKey, times: Times) -> Result<(), CliError> {
    let (store, service) = with_keys(data).await?;
    let (Seconds(after), Seconds(overlap)) = (times.after, times.overlap);
    let rotate = Rotate { data: service.data.clone(), purpose, key, after, overlap, now: WallClock.now() };
    let Rotated { kid, signs_from, former } = store.write(rotate).await.map_err(named)?;
    println!("{kid} signs from {signs_from}");
    if let Some((former, at)) = former {
        println!("{former} retires {at}");
    }
    write_public(data, &ServiceKeys::load(&store, service.data.clone()).await.map_err(named)?)
}

async fn retire(data: &Path, kid: String, at_once: bool, reason: String) -> Result<(), CliError> {
    check_reason(&reason).map_err(named)?;
    let (store, service) = with_keys(data).await?;
    let retire = Retire { kid: kid.clone(), at_once, reason, now: WallClock.now() };
    match store.write(retire).await.map_err(named)? {
        Some(signs) => println!("retired {kid}; {signs} signs"),
        None => println!("retired {kid}; no key signs: nothing is redeemed until `key rotate`"),
    }
    write_public(data, &ServiceKeys::load(&store, service.data.clone()).await.map_err(named)?)
}

fn check(pinned: &Path, answer: &Path) -> Result<(), CliError> {
    let (_, keys) = read_authors(pinned).map_err(named)?;
    let text = fs::read(answer).map_err(|error| named(format!("`{}` cannot be read: {error}", answer.display())))?;
    let value: Value = serde_json::from_slice(&text).map_err(named)?;
    let signed = value.get("signed").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let sets = signed.filter_map(|jws| keys.verify(jws, Some(SET_TYPE)).ok());
    let sets = sets.filter_map(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let now = WallClock.now();
    let fresh = |set: &Value| set.get("exp").and_then(Value::as_u64).is_some_and(|end| now < end);
    let Some(set) = sets.into_iter().find(fresh) else {
        return fail(format!(
            "`{}` has no key set of the last hour that a key of `{}` signs",
            answer.display(),
            pinned.display()
        ));
    };
    let jwks: Jwks = serde_json::from_value(set).map_err(named)?;
    Keys::new(&jwks).map_err(named)?;
    print_json(&json!(jwks))
}

fn print_json(value: &Value) -> Result<(), CliError> {
    println!("{}", serde_json::to_string_pretty(value).map_err(named)?);
    Ok(())
}

/// Writes the public keys into the data folder, where there is one: another instance has none.
fn write_public(data: &Path, keys: &ServiceKeys) -> Result<(), CliError> {
    if !data.is_dir() {
        return Ok(());
    }
    for purpose in [Purpose::Grant, Purpose::Ledger] {
        let path = data.join(format!("{}.jwks.json", purpose.as_str()));
        let cannot = |error| named(format!("`{}` cannot be written: {error}", path.display()));
        let part = path.with_added_extension("part");
        let set = Json::from_serialize(&keys.published(purpose, WallClock.now())).map_err(named)?;
        fs::write(&part, set.to_jcs()).map_err(cannot)?;
        fs::rename(&part, &path).map_err(cannot)?;
    }
    Ok(())
}
