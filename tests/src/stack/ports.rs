//! Ports on loopback: a fixed range for the demo, free ones for tests.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Context as _, Result, bail};

/// The parts, in the order of their ports.
const PARTS: [&str; 6] = [
    "the gateway",
    "the reviewers' page",
    "the service for gateways",
    "the sample upstream",
    "Envoy's admin",
    "the proxy",
];

/// Where tests look for ports: below the range from which the system takes ports for connections, so that a port stays
/// free while the process that listened on it is started again.
const FREE: std::ops::Range<u16> = 20_000..32_000;

/// A port for each part.
#[derive(Clone, Copy, Debug)]
pub struct Ports([u16; 6]);

impl Ports {
    /// The range that begins at `base`, or free ports.
    pub fn choose(base: Option<u16>) -> Result<Self> {
        match base {
            Some(base) => fixed(base),
            None => free(),
        }
    }

    /// Where agents connect.
    pub fn gateway(&self) -> SocketAddr {
        local(self.0[0])
    }

    /// The reviewers' page.
    pub fn people(&self) -> SocketAddr {
        local(self.0[1])
    }

    /// The approval service's listener for gateways.
    pub fn service(&self) -> SocketAddr {
        local(self.0[2])
    }

    pub fn upstream(&self) -> SocketAddr {
        local(self.0[3])
    }

    /// Envoy's admin port.
    pub fn admin(&self) -> SocketAddr {
        local(self.0[4])
    }

    /// A proxy between filter and service, where a test wants one.
    pub fn proxy(&self) -> SocketAddr {
        local(self.0[5])
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(local(port)).is_ok()
}

fn fixed(base: u16) -> Result<Ports> {
    let mut ports = [0; 6];
    for ((offset, part), port) in (0..).zip(PARTS).zip(&mut ports) {
        *port = base.checked_add(offset).filter(|port| *port > 0).context("--port-base is too high")?;
        if !is_free(*port) {
            bail!("port {port} ({part}) is in use: stop what uses it, or move all ports with --port-base N");
        }
    }
    Ok(Ports(ports))
}

fn free() -> Result<Ports> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run side by side begin at different places.
    let start = (std::process::id() % 1000) as u16 * 12;
    let mut ports = [0; 6];
    for port in &mut ports {
        let mut candidates = FREE.map(|_| FREE.start + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000);
        *port = candidates.find(|port| is_free(*port)).context("no free port")?;
    }
    Ok(Ports(ports))
}
