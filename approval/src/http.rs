//! The two listeners: gateways (`/v1/...`) and people (`/api/...` and the console).

pub mod audit;
pub mod authority;
pub mod error;
pub mod extract;
pub mod figures;
pub mod gateway;
pub mod ledger;
pub mod oidc;
pub mod pages;
pub mod people;
pub mod routes;
pub mod serve;
pub mod session;
pub mod text;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch};

use serve::{Limits, serve};

use crate::{notices::deliver::Couriers, oidc::Provider, service::Service};

/// How long requests that are under way may take after a stop was asked for.
const GRACE: Duration = Duration::from_millis(1500);

/// Connections of gateways at once: each proxy keeps a few, and hosts on which each stream waits for itself many.
const GATEWAYS: usize = 4096;

/// Connections of people at once.
const PEOPLE: usize = 512;

/// Connections of those who collect metrics.
const METRICS: usize = 16;

/// What every handler shares.
#[derive(Clone)]
pub struct App {
    pub service: Service,
    /// Cookies get `Secure` and the `__Host-` prefix; for a console behind TLS.
    pub secure_cookies: bool,
    /// Where people may sign in beside their local accounts.
    pub provider: Option<Arc<Provider>>,
    stopping: watch::Receiver<bool>,
}

impl App {
    /// `stopping` turns true when the service is to stop; long polls end then.
    pub fn new(service: Service, secure_cookies: bool, stopping: watch::Receiver<bool>) -> Self {
        App { service, secure_cookies, provider: None, stopping }
    }

    /// The same with a sign-in provider.
    #[must_use]
    pub fn with_provider(self, provider: Provider) -> Self {
        App { provider: Some(Arc::new(provider)), ..self }
    }

    /// Waits until the service is to stop.
    pub async fn stopped(&self) {
        let mut stopping = self.stopping.clone();
        if stopping.wait_for(|stop| *stop).await.is_err() {
            // Nobody can ask for a stop any more.
            std::future::pending::<()>().await;
        }
    }
}

/// The bound listeners.
pub struct Listeners {
    gateways: TcpListener,
    people: TcpListener,
    metrics: Option<TcpListener>,
}

async fn bound(address: SocketAddr) -> io::Result<TcpListener> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on `{address}`: {error}"));
    TcpListener::bind(address).await.map_err(named)
}

impl Listeners {
    /// Binds both. The error names the address.
    pub async fn bind(gateways: SocketAddr, people: SocketAddr) -> Result<Self, io::Error> {
        Ok(Listeners { gateways: bound(gateways).await?, people: bound(people).await?, metrics: None })
    }

    /// Binds the one for metrics, too, where there is to be one.
    pub async fn with_metrics(self, address: Option<SocketAddr>) -> io::Result<Self> {
        let Some(address) = address else { return Ok(self) };
        Ok(Listeners { metrics: Some(bound(address).await?), ..self })
    }

    /// The actual address for metrics.
    pub fn metrics(&self) -> io::Result<Option<SocketAddr>> {
        self.metrics.as_ref().map(TcpListener::local_addr).transpose()
    }

    /// The actual addresses: gateways, people.
    pub fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.gateways.local_addr()?, self.people.local_addr()?))
    }

    /// Serves until the stop; then gives requests that are under way a moment to end.
    pub async fn serve(self, app: App, couriers: Couriers) {
        let last = app.service.clone();
        // They stop by themselves, and leave what they have not delivered to others.
        let notices = tokio::spawn(couriers.run(app.stopping.clone()));
        let time = tokio::spawn(app.service.clone().keep_time());
        let news = tokio::spawn(app.service.store.clone().listen());
        let sealing = tokio::spawn(app.service.clone().keep_sealed());
        let gateways = serve(self.gateways, routes::gateways(app.clone()), Limits::of(GATEWAYS), app.stopping.clone());
        let people = serve(self.people, routes::people(app.clone()), Limits::of(PEOPLE), app.stopping.clone());
        let metrics = async {
            match self.metrics {
                Some(listener) => {
                    let router = routes::metrics(app.clone());
                    serve(listener, router, Limits::of(METRICS), app.stopping.clone()).await;
                }
                None => drop(app.stopping.clone().wait_for(|stop| *stop).await),
            }
        };
        let all = async { tokio::join!(gateways, people, metrics) };
        let late = async {
            app.stopped().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            _ = all => {}
            () = late => {}
        }
        // The hooks are let go in one transaction each; a database that hangs keeps nobody.
        let _ = tokio::time::timeout(GRACE, notices).await;
        time.abort();
        // What was told until the end is signed, too.
        match tokio::time::timeout(GRACE, last.keep_checkpoint(0)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "a last checkpoint of the ledger could not be kept"),
            Err(_) => tracing::error!("a last checkpoint of the ledger could not be kept in time"),
        }
        news.abort();
        sealing.abort();
    }
}
