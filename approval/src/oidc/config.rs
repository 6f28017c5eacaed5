//! `serve --oidc FILE`: the provider, and which access tokens the API takes.

use std::{env, fs, path::Path};

use openidconnect::{ClientId, ClientSecret, RedirectUrl};
use serde::Deserialize;

use super::url;
use crate::yaml;

/// The path to which the provider sends browsers back.
const CALLBACK: &str = "/signin/oidc/callback";

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    issuer: String,
    name: Option<String>,
    client_id: String,
    client_secret_file: Option<String>,
    client_secret_env: Option<String>,
    public_url: String,
    #[serde(default)]
    scopes: Vec<String>,
    api: Option<RawApi>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawApi {
    audience: String,
    clients: Vec<String>,
    token_type: Option<String>,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// As it stands in tokens and in the directory's links.
    pub issuer: String,
    /// How the provider is called on the sign-in page.
    pub name: String,
    pub(super) client_id: ClientId,
    /// `None`: a public client, which PKCE alone protects.
    pub(super) client_secret: Option<ClientSecret>,
    pub(super) redirect: RedirectUrl,
    /// Besides `openid`.
    pub(super) scopes: Vec<String>,
    /// `None`: the API takes no access tokens.
    pub api: Option<Api>,
}

/// Which access tokens the API takes.
#[derive(Clone, Debug)]
pub struct Api {
    /// What a token's `aud` must name.
    pub audience: String,
    /// Ids of the clients that people may use.
    pub clients: Vec<String>,
    /// The media type in a token's header, without `application/`.
    pub token_type: String,
}

/// What is wrong with the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    #[error("cannot be read: {0}")]
    File(#[from] std::io::Error),
    #[error("is not a sign-in configuration: {0}")]
    Yaml(String),
    #[error("has format {0}; this version reads format 1")]
    Format(u32),
    #[error("`{field}`: {what}")]
    Field { field: &'static str, what: String },
}

impl Config {
    /// Reads the file and the secret that it names.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Config::parse(&fs::read_to_string(path)?, path.parent().unwrap_or(Path::new("")))
    }

    /// Reads a text; a relative `client_secret_file` lies in `folder`.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, ConfigError> {
        let file: File = yaml::read(text).map_err(ConfigError::Yaml)?;
        if file.format != 1 {
            return Err(ConfigError::Format(file.format));
        }
        let issuer = url::read(&file.issuer).map_err(|what| field("issuer", what))?;
        if issuer.query().is_some() {
            return Err(field("issuer", format!("`{}` must have no query", file.issuer)));
        }
        let public = url::read(&file.public_url).map_err(|what| field("public_url", what))?;
        if public.path() != "/" || public.query().is_some() {
            let what = format!("`{}` must be scheme and host only; the service answers at the root", file.public_url);
            return Err(field("public_url", what));
        }
        let name = file.name.clone().or_else(|| issuer.host_str().map(ToOwned::to_owned)).unwrap_or_default();
        let callback = public.join(CALLBACK).map_err(|error| field("public_url", error.to_string()))?;
        let scopes = file.scopes.iter().filter(|scope| *scope != "openid").cloned().collect();
        let api = file.api.as_ref().map(|api| api.resolve(&file.client_id)).transpose()?;
        Ok(Config {
            name,
            client_secret: file.secret(folder)?.map(ClientSecret::new),
            client_id: ClientId::new(some("client_id", file.client_id)?),
            redirect: RedirectUrl::from_url(callback),
            scopes,
            api,
            issuer: file.issuer,
        })
    }

    /// Whether people reach the service by TLS.
    pub fn is_public_by_tls(&self) -> bool {
        self.redirect.url().scheme() == "https"
    }
}

impl File {
    fn secret(&self, folder: &Path) -> Result<Option<String>, ConfigError> {
        let secret = match (&self.client_secret_file, &self.client_secret_env) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                let what = "stands there beside `client_secret_file`; keep one of them".to_owned();
                return Err(field("client_secret_env", what));
            }
            (Some(file), None) => {
                let read = fs::read_to_string(folder.join(file));
                let read =
                    read.map_err(|error| field("client_secret_file", format!("`{file}` cannot be read: {error}")));
                some("client_secret_file", read?.trim().to_owned())
            }
            (None, Some(name)) => {
                let read = env::var(name).map_err(|_| field("client_secret_env", format!("`{name}` is not set")));
                some("client_secret_env", read?)
            }
        };
        secret.map(Some)
    }
}

impl RawApi {
    fn resolve(&self, own: &str) -> Result<Api, ConfigError> {
        let audience = some("api.audience", self.audience.clone())?;
        // An ID token names a client as its audience. It says who signed in and is no key to an API.
        if audience == own || self.clients.contains(&audience) {
            let what =
                format!("`{audience}` is a client's id: name the API itself, as the provider puts it into `aud`");
            return Err(field("api.audience", what));
        }
        if self.clients.is_empty() || self.clients.iter().any(String::is_empty) {
            return Err(field("api.clients", "name each client whose access tokens count; or leave out `api`".into()));
        }
        let token_type = self.token_type.clone().unwrap_or_else(|| "at+jwt".into());
        Ok(Api { audience, clients: self.clients.clone(), token_type: some("api.token_type", token_type)? })
    }
}

fn field(field: &'static str, what: String) -> ConfigError {
    ConfigError::Field { field, what }
}

fn some(name: &'static str, text: String) -> Result<String, ConfigError> {
    if text.is_empty() { Err(field(name, "is empty".into())) } else { Ok(text) }
}

#[cfg(test)]
mod tests;
