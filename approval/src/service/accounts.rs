//! Sign-in with a password of this service or at the provider, and sessions.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use holdgate_protocol::Hash;
use serde_json::json;
use tokio::{
    sync::Semaphore,
    time::{Duration, Instant, sleep},
};

use super::{Service, who::Who};
use crate::{
    oidc::Identity,
    random,
    store::{
        Command, StoreError, Tx,
        ledger::Event,
        people::{self, Session, Via},
    },
};

/// How long a session lasts, in seconds. Decisions need a fresher sign-in than that.
pub const SESSION_LIFE: u64 = 8 * 60 * 60;

/// The longest password, in bytes: hashing is work.
const MAX_PASSWORD: usize = 1024;

/// The shortest password that may be set, in characters.
const MIN_PASSWORD: usize = 8;

/// Failed sign-ins of one account before it has to wait.
const FREE_FAILURES: u32 = 5;

/// The longest wait after failures, in seconds.
const MAX_WAIT: u64 = 300;

/// Buckets that accounts are spread over by a keyed hash; as many as two bytes have values.
const BUCKETS: usize = 1 << 16;

/// The longest name of an account, in bytes: as long as an id of the directory.
const MAX_PERSON: usize = 64;

/// Passwords that are checked at once: each check takes 19 MiB and some ten milliseconds of one core.
const AT_ONCE: usize = 2;

/// Sign-ins that may wait for their check.
const WAITING: usize = 32;

/// The same for names that no account has: anyone can invent as many as they like, and people with an account are to have room.
const STRANGERS: usize = 16;

/// Why a password cannot be set or checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    #[error("a password has at least 8 characters and at most 1024 bytes")]
    Length,
    #[error("the password could not be hashed: {0}")]
    Hash(argon2::password_hash::Error),
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    #[error("not an argon2id hash in PHC form (`$argon2id$...`)")]
    NotArgon2id,
}

/// Why a sign-in failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignInError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    #[error("the person or the password is not right")]
    Wrong,
    #[error("too many failed sign-ins of this account; try again in {0} seconds")]
    Wait(u64),
    #[error("too many people sign in at this moment; try again in some seconds")]
    Busy,
}

/// A new session with its token, which nobody but the browser keeps.
#[derive(Debug)]
pub struct SignedIn {
    pub token: String,
    pub session: Session,
}

/// What sign-ins share: the failures of late, and what an unknown person's password is compared with.
pub struct SignIns {
    /// One for each bucket, so that invented names, however many, put no failure out. Accounts that share a bucket wait
    /// for each other; which ones do, nobody outside can tell.
    failures: Mutex<Vec<Failures>>,
    /// What the names are hashed with.
    key: [u8; 32],
    nobody: String,
    at_once: Semaphore,
    /// Those at work and those that wait.
    let_in: Semaphore,
    /// Those among them whose name no account has.
    strangers: Semaphore,
    /// How long the last of those took, in milliseconds.
    took: AtomicU64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Failures {
    count: u32,
    last: u64,
}

impl Failures {
    fn wait_until(&self) -> u64 {
        let over = self.count.saturating_sub(FREE_FAILURES);
        let wait = if over == 0 { 0 } else { 2_u64.saturating_pow(over).min(MAX_WAIT) };
        self.last.saturating_add(wait)
    }

    /// Whether the newest failure is one that the ledger tells of: the first of a row, and each one that had to wait for
    /// its turn. Guessing faster than that writes nothing.
    fn is_step(&self) -> bool {
        self.count == 1 || self.count > FREE_FAILURES
    }
}

impl SignIns {
    pub fn new() -> Result<Self, PasswordError> {
        let nobody = Argon2::default().hash_password(b"nobody's password").map_err(PasswordError::Hash)?.to_string();
        Ok(SignIns {
            failures: Mutex::new(vec![Failures::default(); BUCKETS]),
            key: random::bytes()?,
            nobody,
            at_once: Semaphore::new(AT_ONCE),
            let_in: Semaphore::new(AT_ONCE + WAITING),
            strangers: Semaphore::new(STRANGERS),
            took: AtomicU64::new(0),
        })
    }

    fn bucket(&self, account: &str) -> usize {
        let hash = Hash::of(&[&self.key, account.as_bytes()].concat());
        let [high, low, ..] = *hash.as_bytes();
        usize::from(u16::from_be_bytes([high, low]))
    }

    fn wait(&self, bucket: usize, now: u64) -> Option<u64> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(bucket)?.wait_until().checked_sub(now).filter(|wait| *wait > 0)
    }

    /// Counts a failure, or forgets those before a success.
    fn note(&self, bucket: usize, now: u64, succeeded: bool) -> Failures {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(failed) = failures.get_mut(bucket) else { return Failures::default() };
        let count = if succeeded { 0 } else { failed.count.saturating_add(1) };
        *failed = Failures { count, last: if succeeded { 0 } else { now } };
        *failed
    }
}

impl Service {
    /// Signs a person in. An unknown person costs the same work as a wrong password.
    pub async fn sign_in(&self, person: &str, password: &str) -> Result<SignedIn, SignInError> {
        let signed = self.sign_in_with(person, password).await;
        if let Err(error) = &signed {
            let reason = match error {
                SignInError::Store(_) | SignInError::Random(_) => "failure",
                SignInError::Wrong => "wrong",
                SignInError::Wait(_) => "wait",
                SignInError::Busy => "busy",
            };
            self.store.meters().sign_in_failed(reason);
        }
        signed
    }

    async fn sign_in_with(&self, person: &str, password: &str) -> Result<SignedIn, SignInError> {
        // No account has such a name or password, so nothing is to be counted or hashed.
        if person.len() > MAX_PERSON || password.len() > MAX_PASSWORD {
            return Err(SignInError::Wrong);
        }
        let (bucket, now) = (self.sign_ins.bucket(person), self.now());
        let waits = || self.sign_ins.wait(bucket, now).map_or(Ok(()), |wait| Err(SignInError::Wait(wait)));
        waits()?;
        let found = people::with_password(&mut self.store.read().await?, person).await?;
        let begun = Instant::now();
        let stranger = !matches!(found, Some((_, Some(_))));
        let room = if stranger { &self.sign_ins.strangers } else { &self.sign_ins.let_in };
        let Ok(_place) = room.try_acquire() else {
            if stranger {
                // Without a check, and yet as late and in the same words as after one: that nobody has this name is not told.
                sleep(Duration::from_millis(self.sign_ins.took.load(Ordering::Relaxed))).await;
                self.sign_ins.note(bucket, now, false);
                return Err(SignInError::Wrong);
            }
            return Err(SignInError::Busy);
        };
        // The semaphore is never closed; without a permit the check would still be right.
        let permit = self.sign_ins.at_once.acquire().await;
        // Guesses that came all at once have failed in the meantime.
        waits()?;
        let (person, hash, known) = match found {
            Some((person, Some(hash))) => (Some(person.clone()), hash, Some(person.id)),
            found => (None, self.sign_ins.nobody.clone(), found.map(|(person, _)| person.id)),
        };
        let (password, verified) = (password.to_owned(), hash.clone());
        let right = tokio::task::spawn_blocking(move || verify(&password, &hash)).await.unwrap_or(false);
        let person = person.filter(|_| right);
        let failures = self.sign_ins.note(bucket, now, person.is_some());
        drop(permit);
        if stranger {
            let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.sign_ins.took.store(took, Ordering::Relaxed);
        }
        let Some(person) = person else {
            if let Some(person) = known.filter(|_| failures.is_step()) {
                let (store, failure) = (self.store.clone(), NoteFailure { person, failures: failures.count, now });
                // The answer does not wait for it: how long it takes would tell that there is such a person.
                tokio::spawn(async move {
                    if let Err(error) = store.write(failure).await {
                        tracing::error!(%error, "a failed sign-in could not be recorded");
                    }
                });
            }
            return Err(SignInError::Wrong);
        };

        let (token, hash) = new_token()?;
        let expires_at = now.saturating_add(SESSION_LIFE);
        let session = Session { person, signed_in_at: now, expires_at, via: Via::Local, unfit: None };
        let start = StartSession { token: hash, session: session.clone(), now };
        self.store.write(StartVerified { start, verified }).await?;
        Ok(SignedIn { token, session })
    }

    /// Signs in the person behind an identity at the provider; their session takes the place of another one. `None`:
    /// the identity is no person's.
    pub async fn sign_in_as(
        &self,
        identity: &Identity,
        replaces: Option<Hash>,
    ) -> Result<Option<SignedIn>, SignInError> {
        let (token, hash) = new_token()?;
        let command = SignInAs { token: hash, identity: identity.clone(), replaces, now: self.now() };
        let session = self.store.write(command).await?;
        Ok(session.map(|session| SignedIn { token, session }))
    }

    /// Records that somebody signed in at the provider who is no person here.
    pub async fn note_unknown(&self, identity: Identity) -> Result<(), StoreError> {
        self.store.write(NoteUnknown { identity, now: self.now() }).await
    }

    /// What a credential stands for now.
    pub async fn session(&self, who: &Who) -> Result<Option<Session>, StoreError> {
        who.session(&mut self.store.read().await?, self.now()).await
    }

    /// Ends a session. Access tokens end by themselves.
    pub async fn sign_out(&self, who: &Who) -> Result<(), StoreError> {
        let Who::Session(token) = who else { return Ok(()) };
        self.store.write(EndSession { token: *token, now: self.now() }).await
    }
}

/// A session's token, which nobody but its holder keeps, and the hash under which the session is kept.
fn new_token() -> Result<(String, Hash), SignInError> {
    let token = random::secret()?;
    let hash = Hash::of(token.as_bytes());
    Ok((token, hash))
}

struct StartSession {
    token: Hash,
    session: Session,
    now: u64,
}

impl Command for StartSession {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        let StartSession { token, session, now } = self;
        tx.insert_session(&token, &session, now).await?;
        let data = json!({"person": session.person.id, "via": session.via, "signed_in_at": session.signed_in_at});
        tx.record(Event { time: now, kind: "person.signed_in", hold: None, decided_by: None, data })
    }
}

/// Starts the session of somebody whose password was right, if it is theirs still: to verify it takes time, in which they may
/// have got another one, or have been suspended.
struct StartVerified {
    start: StartSession,
    /// The hash that the password fits.
    verified: String,
}

impl Command for StartVerified {
    type Answer = ();
    type Error = SignInError;

    async fn run(self, tx: &mut Tx) -> Result<(), SignInError> {
        let found = people::with_password(tx, &self.start.session.person.id).await?;
        if found.and_then(|(_, hash)| hash) != Some(self.verified) {
            return Err(SignInError::Wrong);
        }
        Ok(self.start.run(tx).await?)
    }
}

struct SignInAs {
    token: Hash,
    identity: Identity,
    replaces: Option<Hash>,
    now: u64,
}

impl Command for SignInAs {
    type Answer = Option<Session>;
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<Option<Session>, StoreError> {
        let SignInAs { token, identity, replaces, now } = self;
        let Some(person) = people::behind(tx, &identity.iss, &identity.sub).await? else { return Ok(None) };
        if let Some(token) = replaces {
            EndSession { token, now }.run(tx).await?;
        }
        let via = Via::Provider { iss: identity.iss, client: identity.client };
        let expires_at = now.saturating_add(SESSION_LIFE);
        let session = Session { person, signed_in_at: identity.auth_time, expires_at, via, unfit: None };
        StartSession { token, session: session.clone(), now }.run(tx).await?;
        Ok(Some(session))
    }
}

struct NoteUnknown {
    identity: Identity,
    now: u64,
}

impl Command for NoteUnknown {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        let data = json!({"iss": self.identity.iss, "sub": self.identity.sub});
        tx.record(Event { time: self.now, kind: "identity.unknown", hold: None, decided_by: None, data })
    }
}

/// Records that somebody failed to sign in as an existing person. What they typed stays out.
struct NoteFailure {
    person: String,
    failures: u32,
    now: u64,
}

impl Command for NoteFailure {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        let data = json!({"person": self.person, "failures": self.failures});
        let kind = "person.sign_in_failed";
        tx.record(Event { time: self.now, kind, hold: None, decided_by: None, data })
    }
}

struct EndSession {
    token: Hash,
    now: u64,
}

impl Command for EndSession {
    type Answer = ();
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<(), StoreError> {
        if let Some(session) = people::session(tx, &self.token, self.now).await? {
            let data = json!({"person": session.person.id});
            let event = Event { time: self.now, kind: "person.signed_out", hold: None, decided_by: None, data };
            tx.record(event)?;
        }
        tx.delete_session(&self.token).await
    }
}

/// Sets a person's password. `false`: there is no such person.
pub struct SetPassword {
    pub person: String,
    /// In PHC form.
    pub hash: String,
    pub now: u64,
}

impl Command for SetPassword {
    type Answer = bool;
    type Error = StoreError;

    async fn run(self, tx: &mut Tx) -> Result<bool, StoreError> {
        let known = tx.set_password(&self.person, &self.hash).await?;
        if known {
            let data = json!({"person": self.person});
            let event = Event { time: self.now, kind: "person.password_set", hold: None, decided_by: None, data };
            tx.record(event)?;
        }
        Ok(known)
    }
}

/// Hashes a password with argon2id.
pub fn hash_password(password: &str) -> Result<String, PasswordError> {
    if password.chars().count() < MIN_PASSWORD || password.len() > MAX_PASSWORD {
        return Err(PasswordError::Length);
    }
    let hash = Argon2::default().hash_password(password.as_bytes()).map_err(PasswordError::Hash)?;
    Ok(hash.to_string())
}

/// Checks that a text is an argon2id hash that a password can be compared with.
pub fn check_hash(text: &str) -> Result<(), PasswordError> {
    let hash = PasswordHash::new(text).map_err(|_| PasswordError::NotArgon2id)?;
    let sound = hash.algorithm.as_str() == "argon2id" && hash.hash.is_some() && hash.salt.is_some();
    if sound { Ok(()) } else { Err(PasswordError::NotArgon2id) }
}

fn verify(password: &str, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    password.len() <= MAX_PASSWORD && Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
}

#[cfg(test)]
mod tests;
