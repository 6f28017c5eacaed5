//! What nobody is to read in the files: sealed with the data key (XChaCha20-Poly1305), which the database does not have.
//!
//! A sealed text is the version 1, the id of the key (8 bytes), the nonce (24 random bytes) and the ciphertext with its tag. It opens in
//! its place only: the place's name, version and key id are authenticated with it.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use chacha20poly1305::{
    KeyInit as _, XChaCha20Poly1305, XNonce,
    aead::{Aead as _, Payload},
};
use holdgate_protocol::{Hash, b64url, from_b64url};

use crate::random;

/// The version that stands in the first byte. What was kept before is JSON, and begins with `{`.
const VERSION: u8 = 1;

const ID: usize = 8;
const NONCE: usize = 24;

/// The environment variable with the data keys themselves.
pub const VARIABLE: &str = "HOLDGATE_DATA_KEY";

/// The environment variable with the name of their file.
pub const FILE_VARIABLE: &str = "HOLDGATE_DATA_KEY_FILE";

/// The data keys, at least one: the first seals, all open.
pub struct DataKeys(Vec<DataKey>);

struct DataKey {
    id: [u8; ID],
    cipher: XChaCha20Poly1305,
}

/// Why there is no data key to use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataKeyError {
    #[error("{place}: key {number} is not the base64url of 32 bytes")]
    Form { place: String, number: usize },
    #[error("{place}: it holds no key")]
    Empty { place: String },
    #[error("both `{VARIABLE}` and `{FILE_VARIABLE}` are set; set one of them")]
    Both,
    #[error("there is no data key; set `{VARIABLE}` or `{FILE_VARIABLE}`, or put its file at `{}`", .0.display())]
    Missing(PathBuf),
    #[error("the data key's file `{}` cannot be read or made: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("the data key's file `{}` can be read by others; give it the mode 0600", .0.display())]
    Open(PathBuf),
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// Why something cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    #[error(
        "it is sealed with the data key `{0}`, which is not given; set `{VARIABLE}` or `{FILE_VARIABLE}` to the keys in use"
    )]
    UnknownKey(String),
    #[error("what is sealed was changed, or moved from another place")]
    Broken,
    #[error("the system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

impl DataKeys {
    /// Takes the keys from the environment, else from `data.key` in the data folder.
    pub fn find(data: &Path) -> Result<Self, DataKeyError> {
        match from_environment()? {
            Some(keys) => Ok(keys),
            None => match DataKeys::read(&data.join("data.key")) {
                Err(DataKeyError::File { path, error }) if error.kind() == io::ErrorKind::NotFound => {
                    Err(DataKeyError::Missing(path))
                }
                other => other,
            },
        }
    }

    /// The same, but makes the file `data.key` where there is no key yet.
    pub fn find_or_make(data: &Path) -> Result<Self, DataKeyError> {
        match DataKeys::find(data) {
            Err(DataKeyError::Missing(path)) => {
                make(&path)?;
                DataKeys::read(&path)
            }
            other => other,
        }
    }

    /// Reads keys in base64url, with white space or commas between them. `place` is named in errors.
    pub fn parse(text: &str, place: &str) -> Result<Self, DataKeyError> {
        let texts = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|text| !text.is_empty());
        let mut keys = Vec::new();
        for (index, text) in texts.enumerate() {
            let bytes = from_b64url(text).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            let bytes = bytes.ok_or_else(|| DataKeyError::Form { place: place.to_owned(), number: index + 1 })?;
            keys.push(DataKey::new(&bytes));
        }
        if keys.is_empty() { Err(DataKeyError::Empty { place: place.to_owned() }) } else { Ok(DataKeys(keys)) }
    }

    fn read(path: &Path) -> Result<Self, DataKeyError> {
        let cannot = |error| DataKeyError::File { path: path.to_owned(), error };
        let text = fs::read_to_string(path).map_err(cannot)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            if fs::metadata(path).map_err(cannot)?.permissions().mode() & 0o077 != 0 {
                return Err(DataKeyError::Open(path.to_owned()));
            }
        }
        DataKeys::parse(&text, &format!("`{}`", path.display()))
    }

    /// The id of the key that seals, in hex.
    pub fn first(&self) -> String {
        self.0.first().map(|key| hex(&key.id)).unwrap_or_default()
    }

    /// Whether a key with this id, in hex, is given.
    pub fn has(&self, id: &str) -> bool {
        self.0.iter().any(|key| hex(&key.id) == id)
    }

    /// Whether something is sealed with the key that seals now.
    pub fn is_sealed_with_first(&self, sealed: &[u8]) -> bool {
        self.0.first().is_some_and(|key| sealed.get(1..=ID) == Some(key.id.as_slice()))
    }

    /// Seals a text for one place.
    pub fn seal(&self, place: &str, text: &[u8]) -> Result<Vec<u8>, SealError> {
        let key = self.0.first().ok_or(SealError::Broken)?;
        let nonce = random::bytes::<NONCE>()?;
        let mut sealed = vec![VERSION];
        sealed.extend(key.id);
        let payload = Payload { msg: text, aad: &associated(&sealed, place) };
        let ciphertext = key.cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| SealError::Broken)?;
        sealed.extend(nonce);
        sealed.extend(ciphertext);
        Ok(sealed)
    }

    /// Opens what was sealed for this place.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (head, rest) = sealed.split_at_checked(1 + ID).ok_or(SealError::Broken)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE>().ok_or(SealError::Broken)?;
        let Some((&VERSION, id)) = head.split_first() else { return Err(SealError::Broken) };
        let key = self.0.iter().find(|key| key.id == id).ok_or_else(|| SealError::UnknownKey(hex(id)))?;
        let payload = Payload { msg: ciphertext, aad: &associated(head, place) };
        key.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| SealError::Broken)
    }
}

impl DataKey {
    fn new(bytes: &[u8; 32]) -> Self {
        let mut id = [0; ID];
        let named = Hash::of(&[b"holdgate data key\n".as_slice(), bytes].concat());
        id.iter_mut().zip(named.as_bytes()).for_each(|(to, from)| *to = *from);
        DataKey { id, cipher: XChaCha20Poly1305::new(bytes.into()) }
    }
}

fn from_environment() -> Result<Option<DataKeys>, DataKeyError> {
    let set = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    match (set(VARIABLE), set(FILE_VARIABLE)) {
        (Some(_), Some(_)) => Err(DataKeyError::Both),
        (Some(keys), None) => DataKeys::parse(&keys, &format!("`{VARIABLE}`")).map(Some),
        (None, Some(path)) => DataKeys::read(Path::new(&path)).map(Some),
        (None, None) => Ok(None),
    }
}

/// Makes a file with a new key that only its owner reads.
fn make(path: &Path) -> Result<(), DataKeyError> {
    let text = format!("{}\n", b64url(&random::bytes::<32>()?));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let made = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    made.map_err(|error| DataKeyError::File { path: path.to_owned(), error })
}

fn associated(head: &[u8], place: &str) -> Vec<u8> {
    [head, place.as_bytes()].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
