//! How hosts differ where a filter notices it.

use std::{fmt, str::FromStr};

/// A host that is imitated. What was measured on the real ones is in `ARCHITECTURE.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Profile {
    /// Envoy with `allow_on_headers_stop_iteration: true`: a request paused at its headers still brings its body.
    #[default]
    Envoy,
    /// Envoy without that setting: a request paused at its headers brings nothing until it goes on.
    EnvoyWithoutHeadersStop,
    /// nginx with ngx_wasm_module: the upstream is asked after the body was seen; the root context wakes no stream.
    NgxWasm,
    /// What all of them have in common: what works here works on each.
    Strict,
}

impl Profile {
    pub const ALL: [Profile; 4] = [Profile::Envoy, Profile::EnvoyWithoutHeadersStop, Profile::NgxWasm, Profile::Strict];

    /// As it is written on the command line and in cases.
    pub fn name(self) -> &'static str {
        match self {
            Profile::Envoy => "envoy",
            Profile::EnvoyWithoutHeadersStop => "envoy-without-headers-stop",
            Profile::NgxWasm => "ngx-wasm",
            Profile::Strict => "strict",
        }
    }

    /// A message paused at its headers brings neither body nor trailers until it goes on.
    pub(crate) fn pause_stops_all(self) -> bool {
        self != Profile::Envoy
    }

    /// The body of a request comes whole and before the upstream is asked; none comes for an empty one.
    pub(crate) fn collects_bodies(self) -> bool {
        self == Profile::NgxWasm
    }

    /// `end_of_stream` is set at the headers of a message without a body.
    pub(crate) fn ends_at_headers(self) -> bool {
        matches!(self, Profile::Envoy | Profile::EnvoyWithoutHeadersStop)
    }

    /// Headers and body cannot be reached once they went on.
    pub(crate) fn closes_maps(self) -> bool {
        self != Profile::NgxWasm
    }

    /// A parked request may be woken, or answered, from another context than its own.
    pub(crate) fn wakes_from_root(self) -> bool {
        matches!(self, Profile::Envoy | Profile::EnvoyWithoutHeadersStop)
    }

    /// `std::env::var` finds something.
    pub(crate) fn has_environment(self) -> bool {
        matches!(self, Profile::Envoy | Profile::EnvoyWithoutHeadersStop)
    }

    /// There are functions beyond the ABI.
    pub(crate) fn has_foreign_functions(self) -> bool {
        matches!(self, Profile::Envoy | Profile::EnvoyWithoutHeadersStop)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A word that names no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no host profile `{0}`: there are `envoy`, `envoy-without-headers-stop`, `ngx-wasm` and `strict`")]
pub struct UnknownProfile(String);

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(word: &str) -> Result<Self, UnknownProfile> {
        let found = Profile::ALL.into_iter().find(|profile| profile.name() == word);
        found.ok_or_else(|| UnknownProfile(word.to_owned()))
    }
}
