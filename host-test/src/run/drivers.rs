//! Where drivers are made: the one place that knows which there are.

use holdgate_host::cases::{
    driver::{Driver, Setup, Trouble},
    native::Native,
};

/// What plays cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum On {
    /// Rules and gate themselves, without a VM and without a proxy
    #[default]
    Native,
}

/// A driver, in one of the ways in which it can be set up.
pub(super) struct Stage {
    /// As reports name it.
    pub(super) name: String,
    /// The names of the driver and of its profile, as `not_on` has them.
    pub(super) places: Vec<&'static str>,
    pub(super) make: Box<Make>,
}

/// Makes a driver for one case.
type Make = dyn Fn(Setup) -> Result<Box<dyn Driver>, Trouble> + Send + Sync;

/// The stages on which each case is played.
pub(super) fn stages(on: On) -> Vec<Stage> {
    match on {
        On::Native => vec![Stage {
            name: "native".to_owned(),
            places: vec!["native"],
            make: Box::new(|setup| Ok(Box::new(Native::start(setup)?))),
        }],
    }
}
