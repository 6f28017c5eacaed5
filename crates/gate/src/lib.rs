//! One request's life as a state machine without I/O: canonical form, identity, verdict, hold, grant.
//!
//! A host driver (the `plugin`, or a native one) feeds events in and carries out the [`Step`]s and [`Command`]s that
//! come back. Time and randomness come in with the events. A request can go on only with a [`Permit`].

mod canonical;
mod capture;
pub mod config;
mod content;
mod gate;
mod host;
mod identity;
mod mcp;
mod permit;
mod preference;
mod reply;
mod trace;
mod view;

pub use canonical::{Head, Malformed, Pairs};
pub use config::{Config, ConfigError};
pub use gate::{
    Answer, Callout, Change, Changes, Command, Figure, Gate, Opened, RootCall, STREAM_ANSWER, Step, StreamId,
};
pub use host::Host;
pub use identity::IdentityFigures;
pub use mcp::Endpoints;
pub use permit::Permit;
pub use reply::Reply;
pub use view::Parameters;
