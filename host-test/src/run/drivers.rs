//! Where drivers are made: the one place that knows which there are.

use std::path::Path;

use holdgate_host::{
    Filter, Profile,
    cases::{
        driver::{Driver, Setup, Trouble},
        envoy::{Fleet, Place},
        harness::{Conditions, Harness},
        native::Native,
    },
    plugin,
};

use crate::failure::Failure;

/// What plays cases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum On {
    /// Rules and gate themselves, without a VM and without a proxy
    Native,
    /// The compiled filter on the native host
    #[default]
    Harness,
    /// The compiled filter on real Envoy, in real time
    Envoy,
}

/// What the stages are made with.
pub(super) struct Equipment<'e> {
    pub(super) on: On,
    pub(super) wasm: Option<&'e Path>,
    /// The binary of Envoy.
    pub(super) envoy: Option<&'e Path>,
    /// None are all.
    pub(super) profile: Option<Profile>,
    /// Where the first cases stand: the filter is built from the checkout around it.
    pub(super) folder: &'e Path,
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
pub(super) fn stages(equipment: &Equipment<'_>) -> Result<Vec<Stage>, Failure> {
    let built = |folder| plugin::built(folder).map_err(Failure::Plugin);
    let wasm = || equipment.wasm.map_or_else(|| built(equipment.folder), |wasm| Ok(wasm.to_owned()));
    match equipment.on {
        On::Native => Ok(vec![Stage {
            name: "native".to_owned(),
            places: vec!["native"],
            make: Box::new(|setup| Ok(Box::new(Native::start(setup)?))),
        }]),
        On::Harness => {
            let filter = Filter::load_cached(&wasm()?).map_err(Failure::Filter)?;
            let profiles = equipment.profile.map_or_else(|| Profile::ALL.to_vec(), |profile| vec![profile]);
            Ok(profiles.into_iter().map(|profile| harness(filter.clone(), profile)).collect())
        }
        On::Envoy => {
            let envoy = equipment.envoy.map(Path::to_owned).filter(|envoy| !envoy.as_os_str().is_empty());
            let envoy = envoy.ok_or(Failure::NoEnvoy)?;
            if !envoy.is_file() {
                return Err(Failure::EnvoyMissing(envoy));
            }
            let fleet = Fleet::new(Place { envoy, wasm: wasm()? });
            Ok(vec![Stage {
                name: "envoy".to_owned(),
                places: vec!["envoy"],
                make: Box::new(move |setup| Ok(Box::new(fleet.drive(setup)?))),
            }])
        }
    }
}

fn harness(filter: Filter, profile: Profile) -> Stage {
    Stage {
        name: format!("harness, {profile}"),
        // The name of Envoy's profile is that of the driver on the real one.
        places: [Some("harness"), Some(profile.name()).filter(|_| profile != Profile::Envoy)]
            .into_iter()
            .flatten()
            .collect(),
        make: Box::new(move |setup| {
            let conditions = Conditions { profile, ..Conditions::default() };
            Ok(Box::new(Harness::start(&filter, setup, conditions)?))
        }),
    }
}
